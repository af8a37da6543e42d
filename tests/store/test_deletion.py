"""What every store does with a deleted contact."""

from bitespeed.model.identity import Answer
from support.backends import on_one_store
from support.stores import delete_contact, who, write


def test_deleted_contact_frees_values_that_only_it_had(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("b@x", "2"))
        await delete_contact(store, 1)
        assert await who(store, "b@x") == Answer(2, ["b@x"], ["1", "2"], [3])
        await delete_contact(store, 2)
        assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])
        values = backend.query("select value from identifier order by value")
        assert values == [("2",), ("b@x",)]
        await delete_contact(store, 3)
        assert backend.query("select value from identifier") == []
        assert backend.query("select contacts, primary_id from identity") == [(0, None)]
        await write(store, ("a@x", "1"))
        assert await who(store, "a@x") == Answer(4, ["a@x"], ["1"], [])

    on_one_store(backend, test)


def test_deleted_contact_keeps_its_row_with_the_instant(backend):
    async def test(store):
        ids = (await write(store, ("a@x", "1"), ("b@x", "1"))).ids
        await delete_contact(store, ids[0])
        columns = "email, phone, created_at < deleted_at, updated_at = deleted_at"
        stored = backend.query(f"select {columns} from contact_record order by id")
        assert stored == [("a@x", "1", True, True), ("b@x", "1", None, None)]

    on_one_store(backend, test)
