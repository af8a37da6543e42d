vacuum bitespeed.contact_record, bitespeed.identifier, bitespeed.identity, bitespeed.event_record
