"""Who may put which object where in the bucket product-images: every actor, every action, every kind of name.

As the Storage server asks the database: one statement as the caller's role, with the caller's claims.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.access.permissions import ACTIONS, ACTORS, MEMBERS
from tests.access.scene import Scene, Session, acting, set_scene
from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, rpc
from tests.sql.plans import nodes
from tests.stack.paths import SUPABASE

BUCKET = "product-images"
MIGRATION = SUPABASE / "migrations" / "20261123001690_image_uploads.sql"
WRITERS = ("owner", "manager", "integration")
MAY = {"select": MEMBERS, "insert": WRITERS, "update": WRITERS, "delete": WRITERS}

STATEMENTS: dict[str, LiteralString] = {
    "select": "select 1 from storage.objects where bucket_id = %(bucket)s and name = %(name)s",
    "insert": "insert into storage.objects (bucket_id, name) values (%(bucket)s, %(name)s) returning 1",
    "update": "update storage.objects set version = '2' where bucket_id = %(bucket)s and name = %(name)s"
    " returning 1",
    "delete": "delete from storage.objects where bucket_id = %(bucket)s and name = %(name)s returning 1",
}

# What is in no tenant's folder, though parts of it look so; `{t}` is the tenant of whoever tries.
TRICKS = (
    "picture.png",
    "/{t}/a.png",
    "//{t}/a.png",
    "{t}",
    "{t}/",
    "{t}//a.png",
    "{t}/a//b.png",
    "{t}/a/",
    "./{t}/a.png",
    "{t}/./a.png",
    "{t}/../a.png",
    "{t}/a/..",
    "{t}/..",
    "{t}/../{o}/a.png",
    "../{t}/a.png",
    "{T}/a.png",
    "{{{t}}}/a.png",
    "urn:uuid:{t}/a.png",
    "{hex}/a.png",
    " {t}/a.png",
    "{t} /a.png",
    "{t}\n/a.png",
    "\n{t}/a.png",
    "{t}%2Fa.png",
    "%7B{t}/a.png",
    "{t}x/a.png",
    "{short}/a.png",
    "null/a.png",
    "",
    "/",
    "a/{t}/b.png",
    "{o}/{t}/a.png",
    "{t}/" + "x" * 1024,
)


@pytest.fixture
def scene(database: Database) -> Iterator[tuple[Session, Scene]]:
    """Both tenants with an object of theirs, in a transaction that is undone."""
    with psycopg.connect(database.url(), autocommit=True) as db:
        scene = set_scene(db)
        with db.transaction(force_rollback=True):
            for tenant in (scene.own, scene.other):
                _put(db, f"{tenant}/shoes/a.png")
            yield db, scene


def _put(db: Session, name: str, bucket: str = BUCKET) -> None:
    db.execute("insert into storage.objects (bucket_id, name) values (%s, %s)", (bucket, name))


def attempt(db: Session, scene: Scene, actor: str, action: str, name: str, bucket: str = BUCKET) -> str:
    """`yes` if a row was touched or seen, `no` if none was or the policies refused; anything else raises."""
    with acting(db, scene, actor):
        db.execute("set local storage.allow_delete_query = 'true'")
        try:
            found = db.execute(STATEMENTS[action], {"bucket": bucket, "name": name}).fetchall()
        except psycopg.errors.InsufficientPrivilege as error:
            if "row-level security" not in str(error):
                raise
            return "no"
        return "yes" if found else "no"


async def test_every_actor_may_what_the_table_says(scene: tuple[Session, Scene]) -> None:
    db, people = scene
    wrong = []
    for actor in ACTORS:
        for action in ACTIONS:
            for tenant in (people.own, people.other):
                own = tenant == people.own
                may = actor == "service" or (not own if actor == "rival" else own and actor in MAY[action])
                name = f"{tenant}/shoes/{'new' if action == 'insert' else 'a'}.png"
                got = attempt(db, people, actor, action, name)
                if got != ("yes" if may else "no"):
                    wrong.append((actor, action, "own" if own else "other", got))
    assert not wrong


async def test_a_name_in_no_folder_is_refused_without_a_fuss(scene: tuple[Session, Scene]) -> None:
    """An error other than of the policies would be a 500 of the Storage server."""
    db, people = scene
    own, other = str(people.own), str(people.other)
    wrong, tried = [], ("owner", "loner", "anon")
    for trick in TRICKS:
        name = trick.format(t=own, o=other, T=own.upper(), hex=people.own.hex, short=own[:-1])
        found = [(actor, attempt(db, people, actor, "insert", name)) for actor in tried]
        _put(db, name)
        for action in ("select", "update", "delete"):
            found += [(actor, attempt(db, people, actor, action, name)) for actor in tried]
        wrong += [(trick, actor) for actor, got in found if got != "no"]
    assert not wrong


async def test_an_object_stays_in_its_tenant(scene: tuple[Session, Scene]) -> None:
    db, people = scene
    move: LiteralString = "update storage.objects set name = %s where name = %s returning 1"
    mine = f"{people.own}/shoes/a.png"
    for target in (f"{people.other}/a.png", "a.png"):
        with acting(db, people, "owner"), pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(move, (target, mine))
    with acting(db, people, "owner"):
        assert db.execute(move, (f"{people.own}/b.png", mine)).fetchall()


async def test_a_careless_policy_for_all_buckets_opens_none_of_it(scene: tuple[Session, Scene]) -> None:
    """A project has buckets of its own, and policies that forget to name them."""
    db, people = scene
    db.execute("insert into storage.buckets (id, name) values ('others', 'others')")
    _put(db, "a.png", "others")
    db.execute("create policy careless on storage.objects using (true) with check (true)")
    for actor in ("anon", "rival", "loner", "removed"):
        for action in ACTIONS:
            name = "new.png" if action == "insert" else "a.png"
            ours = attempt(db, people, actor, action, f"{people.own}/shoes/{name}")
            theirs = attempt(db, people, actor, action, name, "others")
            assert (ours, theirs) == ("no", "yes"), (actor, action)


async def test_our_policies_say_nothing_of_other_buckets(scene: tuple[Session, Scene]) -> None:
    db, people = scene
    db.execute("insert into storage.buckets (id, name) values ('others', 'others')")
    name = f"{people.own}/a.png"
    _put(db, name, "others")
    for actor in (*MEMBERS, "anon"):
        for action in ACTIONS:
            assert attempt(db, people, actor, action, name, "others") == "no", (actor, action)


NAIVE: LiteralString = """
drop policy "product images stay within one's own tenants" on storage.objects;
drop policy "managers upload product images to their tenant" on storage.objects;
create policy naive on storage.objects for insert to authenticated with check ({})
"""


@pytest.mark.parametrize(
    ("check", "trick"),
    [
        # what many guides show: the folder of a name with dots is still one's own
        (
            "(storage.foldername(name))[1] = any (array(select unnest(private.my_tenants())::text))",
            "{t}/../{o}/a.png",
        ),
        ("bucket_id = 'product-images'", "{o}/a.png"),
        ("name like any (array(select t || '/%' from unnest(private.my_tenants()) t))", "{t}//a.png"),
    ],
)
async def test_naive_checks_are_seen(scene: tuple[Session, Scene], check: LiteralString, trick: str) -> None:
    db, people = scene
    db.execute(sql.SQL(NAIVE).format(sql.SQL(check)))
    name = trick.format(t=people.own, o=people.other)
    with acting(db, people, "owner"):
        _put(db, name)


async def test_a_cast_of_the_folder_would_be_a_fuss(scene: tuple[Session, Scene]) -> None:
    db, people = scene
    cast = "((storage.foldername(name))[1])::uuid = any (private.my_tenants())"
    db.execute(sql.SQL(NAIVE).format(sql.SQL(cast)))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        attempt(db, people, "owner", "insert", "pictures/a.png")


async def test_the_migration_may_run_twice_and_mends_the_bucket(database: Database) -> None:
    db = await database.connect()
    await db.execute("update storage.buckets set public = true, file_size_limit = null")
    before = await column(
        db, "select polname from pg_policy where polrelid = 'storage.objects'::regclass order by 1"
    )
    await db.execute(MIGRATION.read_text().encode())
    after = await column(
        db, "select polname from pg_policy where polrelid = 'storage.objects'::regclass order by 1"
    )
    assert len(before) == 6
    assert after == before
    assert await rows(db, "select public, file_size_limit from storage.buckets") == [
        (False, 20 * 1024 * 1024)
    ]


async def test_the_migration_passes_where_storage_is_missing(database: Database) -> None:
    admin = await database.connect("supabase_admin")
    await admin.execute("drop schema storage cascade")
    db = await database.connect()
    await db.execute(MIGRATION.read_text().encode())
    assert (await rpc(db, "sweep_images"))["uploads"] == 0
    assert await rpc(db, "claim_doomed_files", p_host="upload") == []


async def test_the_config_says_of_the_bucket_what_the_migration_does(db: Connection) -> None:
    config = tomllib.loads((SUPABASE / "config.toml").read_text())["storage"]["buckets"][BUCKET]
    [(public, limit, types)] = await rows(
        db, "select public, file_size_limit, allowed_mime_types from storage.buckets where id = %s", BUCKET
    )
    assert config["public"] == public
    assert config["file_size_limit"] == f"{limit // 2**20}MiB"
    assert limit % 2**20 == 0
    assert config["allowed_mime_types"] == types


async def test_tenants_are_asked_for_once_a_statement(database: Database, db: Connection) -> None:
    bulk = await database.connect("supabase_admin")
    await bulk.execute(
        "insert into storage.objects (bucket_id, name)"
        " select %s, (array(select gen_random_uuid() from generate_series(1, 50)))[1 + n %% 50] || '/' || n"
        " from generate_series(1, 50000) n",
        (BUCKET,),
    )
    await bulk.execute("analyze storage.objects")
    async with acting_as(db, uuid.uuid4()):
        plan = await nodes(db, "select count(*) from storage.objects where bucket_id = %s", BUCKET)
    asked = [node for node in plan if "tenants_with" in str(node.get("Output"))]
    assert [node["Parent Relationship"] for node in asked] == ["InitPlan"]
    assert not [node for node in plan if "SubPlan" in str(node.get("Parent Relationship"))]
