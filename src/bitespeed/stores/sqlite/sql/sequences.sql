-- Of each sequence the number that it gives out next, and the highest in use.
select 'sqlite_sequence of contact_record',
       coalesce((select seq from sqlite_sequence where name = 'contact_record'), 0) + 1,
       (select max(id) from contact_record)
union all
select 'sqlite_sequence of event_record',
       coalesce((select seq from sqlite_sequence where name = 'event_record'), 0) + 1,
       nullif(max(coalesce((select max(number) from contact_record where number is not null), 0),
                  coalesce((select max(seq) from event_record), 0)), 0);
