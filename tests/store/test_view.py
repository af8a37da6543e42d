"""The `contact` view of every store."""

from support.backends import on_one_store, roles, rows
from support.stores import delete_contact, write


def test_contact_view_shows_the_role_of_each_contact(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "2"), ("d@x", "2"))
        assert roles(backend) == [
            (1, None, "primary"),
            (2, 1, "secondary"),
            (3, None, "primary"),
            (4, 3, "secondary"),
        ]
        await write(store, ("d@x", "1"))
        assert roles(backend)[0] == (1, None, "primary")
        assert roles(backend)[1:] == [(n, 1, "secondary") for n in (2, 3, 4)]
        await delete_contact(store, 1)
        assert roles(backend)[1] == (2, None, "primary")
        assert [roles(backend)[n] for n in (0, 2, 3)] == [(n, 2, "secondary") for n in (1, 3, 4)]

    on_one_store(backend, test)


def test_updatedat_of_a_contact_is_when_its_role_changed(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "2"), ("d@x", "2"), ("e@x", "3"))
        before = updated(backend)
        await write(store, ("f@x", "1"), ("a@x", "9"), ("f@x", "9"))
        assert {id_: at for id_, at in updated(backend).items() if id_ in before} == before
        await write(store, ("a@x", "2"))
        merged = updated(backend)
        assert {id_ for id_ in before if merged[id_] > before[id_]} == {3, 4}
        assert merged[3] == merged[4] > max(merged[6], merged[7])
        await delete_contact(store, 1)
        relabelled = updated(backend)
        assert {id_ for id_ in merged if relabelled[id_] > merged[id_]} >= {1, 2, 3, 4}
        assert relabelled[5] == before[5]

    on_one_store(backend, test)


def updated(backend):
    return dict(backend.query("select id, updatedat from contact"))


def test_merging_changes_no_contact(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        before = rows(backend)["contact_record"]
        await write(store, ("a@x", "2"))
        assert rows(backend)["contact_record"] == before

    on_one_store(backend, test)
