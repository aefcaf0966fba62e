-- The tables that the transcripts were recorded with, reconstructed from the frames. Run by supabase_admin after the
-- platform's bootstrap.

create schema if not exists other;
create schema if not exists marker;
grant usage on schema other, marker to anon, authenticated, service_role;

create type public.mood as enum ('sad', 'ok', 'happy');
create domain public.posint as int check (value > 0);

create table public.todos (
  id bigint primary key, title text, done boolean default false, owner uuid, created_at timestamptz default now()
);
create table public.types (
  id bigint primary key, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(20, 6), f4 float4, f8 float8, t text,
  vc varchar(20), c char(5), b boolean, j json, jb jsonb, u uuid, ts timestamp, tstz timestamptz, tstz0 timestamptz(0),
  d date, tm time, tmtz timetz, iv interval, ba bytea, ia int4[], i8a int8[], ta text[], ua uuid[], jba jsonb[],
  na numeric[], ba2 boolean[], tsa timestamptz[], ma public.mood[], m public.mood, dom public.posint, ip inet, cd cidr,
  mac macaddr, mon money, bt bit(3), vb varbit, rng int4range, tsr tstzrange, pt point, x xml, tsv tsvector,
  g int generated always as (i4 * 2) stored, o oid, nm name, ch "char"
);
create table public.types_full (like public.types including all);
alter table public.types_full replica identity full;

create table public.notes (id bigint primary key, owner uuid, body text);
create table public.notes_full (like public.notes including all);
alter table public.notes_full replica identity full;
alter table public.notes enable row level security;
alter table public.notes_full enable row level security;
create policy "owners read" on public.notes for select to authenticated using (owner = auth.uid());
create policy "owners read" on public.notes_full for select to authenticated using (owner = auth.uid());

create table public.noselect (id bigint primary key, v text);
create table public.colgrant (id bigint primary key, pub text, secret text);
create table public.rls_nopolicy (id bigint primary key, v text);
alter table public.rls_nopolicy enable row level security;
create table public.nopk (v text);
create table public.nopk_full (v text, n int);
alter table public.nopk_full replica identity full;
create table public.compo (a int, b text, v text, primary key (a, b));
create table public."Mixed Case" ("Id" bigint primary key, "Some Col" text, "quo""te" text);
create table public.big (id bigint primary key, small text, blob text, n int);
alter table public.big alter column blob set storage external;
create table public.unpublished (id bigint primary key, v text);
create table other.things (id bigint primary key, v text);
create table marker.marks (id bigint primary key);

grant all on all tables in schema public, other, marker to anon, authenticated, service_role;
revoke all on public.noselect, public.colgrant from anon, authenticated;
grant select (id, pub) on public.colgrant to anon, authenticated;

alter publication supabase_realtime add table
  public.todos, public.types, public.types_full, public.notes, public.notes_full, public.noselect, public.colgrant,
  public.rls_nopolicy, public.nopk, public.nopk_full, public.compo, public."Mixed Case", public.big, other.things,
  marker.marks;
