-- Ed25519: the public half of a key.
--
-- The worker signs webhooks with Ed25519 (`v1a`); the database makes the keys, and has to show the public half to whoever
-- will verify. Postgres and pgcrypto have no Ed25519, so the one operation that is needed stands here, by RFC 8032, 5.1.5.

-- The public key of a 32-byte seed: SHA-512, clamping, and the base point times that, in extended coordinates.
--
-- The time it takes tells about the seed: numeric arithmetic does not take constant time. That is enough here: it runs
-- once for a key, when the key is made, and nobody can have it run again on the same seed to measure. Sign elsewhere.
create function private.ed25519_public_key(p_seed bytea) returns bytea
language plpgsql immutable strict set search_path = ''
as $$
declare
  v_p constant numeric := 57896044618658097711785492504343953926634992332820282019728792003956564819949; -- 2^255 - 19
  -- the base point as it is added: y - x, y + x, 2dxy
  v_minus constant numeric := 31204614345391077396927242593886631629853981173214368409736920319215404093758;
  v_plus constant numeric := 3533012425803781230144052908719740726127014226477800802100354883158534798213;
  v_twisted constant numeric := 50237614328228664512531835696112167678046477356841409204013502641986506238568;
  v_hash bytea;
  v_x numeric := 0;
  v_y numeric := 1;
  v_z numeric := 1;
  v_t numeric;
  v_a numeric;
  v_b numeric;
  v_e numeric;
  v_f numeric;
  v_g numeric;
  v_h numeric;
  v_public bytea := decode(repeat('00', 32), 'hex');
begin
  if length(p_seed) <> 32 then
    raise exception 'an Ed25519 seed has 32 bytes, this one has %', length(p_seed) using errcode = '22023';
  end if;
  v_hash := substr(sha512(p_seed), 1, 32);
  v_hash := set_byte(v_hash, 0, get_byte(v_hash, 0) & 248);
  v_hash := set_byte(v_hash, 31, get_byte(v_hash, 31) & 127 | 64);

  -- Remainders keep the sign of what is divided: only the last ones are brought above zero.
  for v_bit in reverse 254..0 loop
    v_a := v_x * v_x;
    v_b := v_y * v_y;
    v_h := (v_a + v_b) % v_p;
    v_e := (v_h - (v_x + v_y) * (v_x + v_y)) % v_p;
    v_g := (v_a - v_b) % v_p;
    v_f := (2 * v_z * v_z + v_g) % v_p;
    v_x := v_e * v_f % v_p;
    v_y := v_g * v_h % v_p;
    v_z := v_f * v_g % v_p;
    if get_bit(v_hash, v_bit) = 1 then
      v_t := v_e * v_h % v_p;
      v_a := (v_y - v_x) * v_minus % v_p;
      v_b := (v_y + v_x) * v_plus % v_p;
      v_t := v_t * v_twisted % v_p;
      v_e := v_b - v_a;
      v_f := 2 * v_z - v_t;
      v_g := 2 * v_z + v_t;
      v_h := v_b + v_a;
      v_x := v_e * v_f % v_p;
      v_y := v_g * v_h % v_p;
      v_z := v_f * v_g % v_p;
    end if;
  end loop;

  -- 1/z by Euclid: v_e * z is v_f and v_g * z is v_h, modulo p.
  v_e := 0;
  v_f := v_p;
  v_g := 1;
  v_h := (v_z + v_p) % v_p;
  while v_h <> 0 loop
    v_a := div(v_f, v_h);
    v_b := v_e - v_a * v_g;
    v_e := v_g;
    v_g := v_b;
    v_b := v_f - v_a * v_h;
    v_f := v_h;
    v_h := v_b;
  end loop;
  v_x := (v_x * v_e % v_p + v_p) % v_p;
  v_y := (v_y * v_e % v_p + v_p) % v_p;

  for v_byte in 0..31 loop
    v_public := set_byte(v_public, v_byte, (v_y % 256)::integer);
    v_y := div(v_y, 256);
  end loop;
  return set_byte(v_public, 31, get_byte(v_public, 31) | (128 * (v_x % 2))::integer);
end $$;
revoke all on function private.ed25519_public_key(bytea) from public, anon, authenticated, service_role;
