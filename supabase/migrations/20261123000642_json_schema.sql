-- JSON Schema: a documented subset of draft 2020-12 (docs/validation.md), for the attributes of a category's products.
--
-- A schema is checked when it is saved (private.schema_problems): only keywords that are carried out, in bounds, so that
-- nobody believes in a rule that is not applied. Then private.schema_failures judges a value without ever raising.

-- Why a regular expression is not accepted, or null. What remains is common to Postgres and JavaScript, and safe: without
-- backreferences and look-around, Postgres' engine runs in time linear in the text.
create function private.pattern_problem(p_pattern text) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_bare constant text := regexp_replace(p_pattern, '\\[dDwWsStnr.^$*+?()\[\]{}|/\\-]', '_', 'g');
  v_repeats numeric;
begin
  if length(p_pattern) > 200 then
    return 'is longer than 200 characters';
  elsif position('\' in v_bare) > 0 then
    return 'has an escape other than \d \w \s \D \W \S \t \n \r and \ before punctuation; backreferences are not accepted';
  elsif v_bare ~ '\(\?(?!:)' then
    return 'has a group other than ( ) and (?: ); look-around and flags are not accepted';
  elsif v_bare ~ '\[[.:=]' or v_bare ~ '^\*' then
    return 'is not understood alike everywhere: no [: :], and nothing to repeat before the first *';
  end if;
  select coalesce(exp(sum(ln(greatest(coalesce(nullif(m[2], ''), m[1])::numeric, 1)))), 1) into v_repeats
  from regexp_matches(v_bare, '\{([0-9]{1,6})(?:,([0-9]{0,6}))?\}', 'g') m;
  if v_repeats > 1000.5 then
    return 'repeats too much: the counts in { } may multiply to 1000 at most';
  end if;
  perform '' ~ p_pattern;
  return null;
exception when invalid_regular_expression then
  return 'is no regular expression: ' || sqlerrm;
end $$;
revoke all on function private.pattern_problem(text) from public, anon, authenticated, service_role;

create function private.matches_format(p_text text, p_format text) returns boolean
language sql immutable set search_path = ''
as $$
  select case p_format
    -- RFC 3339; to_date would accept the 31st of June
    when 'date' then p_text ~ '^\d{4}-\d{2}-\d{2}$' and p_text !~ '^0000' and pg_input_is_valid(p_text, 'date')
    when 'email' then length(p_text) <= 254
      and p_text ~* '^[a-z0-9.!#$%&''*+/=?^_`{|}~-]{1,64}@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$'
    when 'uri' then p_text ~* '^[a-z][a-z0-9+.-]*:[a-z0-9._~:/?#\[\]@!$&''()*+,;=%-]+$' and p_text !~* '%(?![0-9a-f]{2})'
  end
$$;
revoke all on function private.matches_format(text, text) from public, anon, authenticated, service_role;

create function private.has_type(p_value jsonb, p_type text) returns boolean
language sql immutable set search_path = ''
as $$
  select case p_type
    when 'integer' then jsonb_typeof(p_value) = 'number' and p_value::numeric = trunc(p_value::numeric)
    else jsonb_typeof(p_value) = p_type
  end
$$;
revoke all on function private.has_type(jsonb, text) from public, anon, authenticated, service_role;

-- How a value breaks one keyword that looks at the value alone, or null.
create function private.keyword_problem(p_word text, p_rule jsonb, p_value jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_type constant text := jsonb_typeof(p_value);
  v_number constant numeric := case when v_type = 'number' then p_value::numeric end;
  v_bound constant numeric := case when jsonb_typeof(p_rule) = 'number' then p_rule::numeric end;
  v_text constant text := case when v_type = 'string' then p_value #>> '{}' end;
  v_items constant integer := case when v_type = 'array' then jsonb_array_length(p_value) end;
begin
  -- A bound that does not apply compares with null, which is no problem.
  return case p_word
    when 'type' then
      case when not exists (
        select from jsonb_array_elements_text(case jsonb_typeof(p_rule) when 'array' then p_rule else jsonb_build_array(p_rule) end) t
        where private.has_type(p_value, t)
      ) then format('must be of type %s', p_rule #>> '{}') end
    when 'enum' then
      case when not exists (select from jsonb_array_elements(p_rule) e where e = p_value) then format('must be one of %s', left(p_rule::text, 200)) end
    when 'const' then case when p_value <> p_rule then format('must be %s', left(p_rule::text, 200)) end
    when 'minimum' then case when v_number < v_bound then format('must be at least %s', v_bound) end
    when 'maximum' then case when v_number > v_bound then format('must be at most %s', v_bound) end
    when 'exclusiveMinimum' then case when v_number <= v_bound then format('must be above %s', v_bound) end
    when 'exclusiveMaximum' then case when v_number >= v_bound then format('must be below %s', v_bound) end
    when 'multipleOf' then case when mod(v_number, v_bound) <> 0 then format('must be a multiple of %s', v_bound) end
    when 'minLength' then case when length(v_text) < v_bound then format('must have at least %s characters', v_bound) end
    when 'maxLength' then case when length(v_text) > v_bound then format('must have at most %s characters', v_bound) end
    when 'pattern' then case when v_text !~ (p_rule #>> '{}') then format('must match %s', p_rule #>> '{}') end
    when 'format' then case when not private.matches_format(v_text, p_rule #>> '{}') then format('must be a valid %s', p_rule #>> '{}') end
    when 'minItems' then case when v_items < v_bound then format('must have at least %s elements', v_bound) end
    when 'maxItems' then case when v_items > v_bound then format('must have at most %s elements', v_bound) end
    when 'uniqueItems' then
      case when p_rule = 'true' and v_items > (select count(distinct e) from jsonb_array_elements(case v_type when 'array' then p_value else '[]' end) e)
      then 'must not hold the same element twice' end
    when 'minProperties' then
      case when v_type = 'object' and (select count(*) from jsonb_object_keys(case v_type when 'object' then p_value else '{}' end)) < v_bound
      then format('must have at least %s fields', v_bound) end
    when 'maxProperties' then
      case when v_type = 'object' and (select count(*) from jsonb_object_keys(case v_type when 'object' then p_value else '{}' end)) > v_bound
      then format('must have at most %s fields', v_bound) end
  end;
end $$;
revoke all on function private.keyword_problem(text, jsonb, jsonb) from public, anon, authenticated, service_role;

-- Every way in which a value breaks a schema: [{"field": "attributes.size", "detail": "must be …"}]. `p_path` is where
-- the value stands. The schema was accepted by private.schema_problems.
create function private.schema_failures(p_schema jsonb, p_value jsonb, p_path text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_word text;
  v_rule jsonb;
  v_found jsonb := '[]';
begin
  if jsonb_typeof(p_schema) = 'boolean' then
    return case when p_schema::boolean then v_found
      else jsonb_build_array(jsonb_build_object('field', p_path, 'detail', 'is not allowed here')) end;
  end if;
  for v_word, v_rule in select e.key, e.value from jsonb_each(p_schema) e loop
    v_found := v_found || case
      when v_word in ('properties', 'required', 'additionalProperties', 'items') then
        private.part_failures(v_word, p_schema, p_value, p_path)
      when v_word in ('anyOf', 'allOf', 'oneOf', 'not') then private.choice_failures(v_word, v_rule, p_value, p_path)
      else coalesce(
        (select jsonb_build_array(jsonb_build_object('field', p_path, 'detail', k.problem))
         from private.keyword_problem(v_word, v_rule, p_value) k (problem) where k.problem is not null), '[]')
    end;
  end loop;
  return v_found;
end $$;
revoke all on function private.schema_failures(jsonb, jsonb, text) from public, anon, authenticated, service_role;

-- Keywords about the fields of an object and the elements of an array.
create function private.part_failures(p_word text, p_schema jsonb, p_value jsonb, p_path text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_rule constant jsonb := p_schema -> p_word;
  v_found jsonb;
begin
  if jsonb_typeof(p_value) <> (case p_word when 'items' then 'array' else 'object' end) then
    return '[]';
  end if;
  case p_word
    when 'required' then
      select jsonb_agg(jsonb_build_object('field', p_path || '.' || r.name, 'detail', 'is required')) into v_found
      from jsonb_array_elements_text(v_rule) r (name) where not p_value ? r.name;
    when 'items' then
      select jsonb_agg(f) into v_found
      from jsonb_array_elements(p_value) with ordinality e (value, place)
      cross join lateral jsonb_array_elements(private.schema_failures(v_rule, e.value, format('%s.%s', p_path, e.place - 1))) f;
    when 'properties' then
      select jsonb_agg(f) into v_found
      from jsonb_each(v_rule) r
      cross join lateral jsonb_array_elements(private.schema_failures(r.value, p_value -> r.key, p_path || '.' || r.key)) f
      where p_value ? r.key;
    else
      select jsonb_agg(f) into v_found
      from jsonb_each(p_value) v
      cross join lateral jsonb_array_elements(private.schema_failures(v_rule, v.value, p_path || '.' || v.key)) f
      where not coalesce(p_schema -> 'properties' ? v.key, false);
  end case;
  return coalesce(v_found, '[]');
end $$;
revoke all on function private.part_failures(text, jsonb, jsonb, text) from public, anon, authenticated, service_role;

-- Keywords that combine schemas.
create function private.choice_failures(p_word text, p_rule jsonb, p_value jsonb, p_path text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_all jsonb;
  v_total integer;
  v_fitting integer;
  v_detail text;
begin
  if p_word = 'not' then
    v_detail := case when private.schema_failures(p_rule, p_value, p_path) = '[]' then 'has a form that is not allowed' end;
  else
    select jsonb_agg(f.found), count(*), count(*) filter (where f.found = '[]') into v_all, v_total, v_fitting
    from jsonb_array_elements(p_rule) s
    cross join lateral private.schema_failures(s, p_value, p_path) f (found);
    if p_word = 'allOf' then
      return coalesce((select jsonb_agg(one) from jsonb_array_elements(v_all) a, jsonb_array_elements(a) one), '[]');
    end if;
    v_detail := case
      when v_fitting = 0 then format('fits none of the %s allowed forms', v_total)
      when v_fitting > 1 and p_word = 'oneOf' then format('fits %s forms where exactly one is allowed', v_fitting)
    end;
  end if;
  return case when v_detail is null then '[]'
    else jsonb_build_array(jsonb_build_object('field', p_path, 'detail', v_detail)) end;
end $$;
revoke all on function private.choice_failures(text, jsonb, jsonb, text) from public, anon, authenticated, service_role;

-- How a keyword's own value is wrong, or null. Sub-schemas are looked at by private.schema_problems.
create function private.keyword_misuse(p_word text, p_rule jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_type constant text := jsonb_typeof(p_rule);
  v_list constant jsonb := case v_type when 'array' then p_rule else '[]' end;
begin
  return case
    when p_word in ('title', 'description', '$comment') then case when v_type <> 'string' then 'must be text' end
    when p_word in ('default', 'examples', 'const') then null
    when p_word = '$schema' then
      case when p_rule <> '"https://json-schema.org/draft/2020-12/schema"' then 'must be draft 2020-12' end
    when p_word = 'type' then
      case when v_type not in ('string', 'array') or p_rule = '[]' or exists (
        select from jsonb_array_elements(case v_type when 'array' then p_rule else jsonb_build_array(p_rule) end) t
        where jsonb_typeof(t) <> 'string' or not t <@ '["null", "boolean", "integer", "number", "string", "array", "object"]'
      ) then 'must name types of JSON' end
    when p_word = 'enum' then case when v_type <> 'array' or p_rule = '[]' then 'must be a list of values' end
    when p_word = 'required' then
      case when v_type <> 'array' or exists (select from jsonb_array_elements(v_list) e where jsonb_typeof(e) <> 'string')
      then 'must be a list of names' end
    when p_word in ('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum') then
      case when v_type <> 'number' then 'must be a number' end
    when p_word = 'multipleOf' then case when v_type <> 'number' or p_rule <= '0' then 'must be a number above 0' end
    when p_word in ('minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties') then
      case when v_type <> 'number' or not private.has_type(p_rule, 'integer') or p_rule < '0' then 'must be a whole number' end
    when p_word = 'uniqueItems' then case when v_type <> 'boolean' then 'must be true or false' end
    when p_word = 'pattern' then
      case when v_type <> 'string' then 'must be text' else private.pattern_problem(p_rule #>> '{}') end
    when p_word = 'format' then case when v_type <> 'string' or not p_rule <@ '["date", "email", "uri"]' then 'must be date, email or uri' end
    when p_word = 'properties' then case when v_type <> 'object' then 'must be an object of schemas' end
    when p_word in ('items', 'additionalProperties', 'not') then
      case when v_type not in ('object', 'boolean') then 'must be a schema' end
    when p_word in ('anyOf', 'allOf', 'oneOf') then case when v_type <> 'array' or p_rule = '[]' then 'must be a list of schemas' end
    else 'is not a keyword that is carried out'
  end;
end $$;
revoke all on function private.keyword_misuse(text, jsonb) from public, anon, authenticated, service_role;

-- Why a schema is not accepted: "/properties/size/minimum must be a number"; empty if it is. At most 16 KiB and 10 deep.
create function private.schema_problems(p_schema jsonb, p_path text default '', p_depth integer default 0) returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  if jsonb_typeof(p_schema) = 'boolean' and p_depth > 0 then
    return '{}';
  elsif jsonb_typeof(p_schema) is distinct from 'object' then
    return array[coalesce(nullif(p_path, ''), 'the schema') || ' must be a schema'];
  elsif p_depth > 10 then
    return array[p_path || ' is nested more than 10 deep'];
  elsif p_depth = 0 and octet_length(p_schema::text) > 16384 then
    return array['the schema is larger than 16 KiB'];
  end if;
  return array(
    select format('%s/%s %s', p_path, e.key, m.misuse)
    from jsonb_each(p_schema) e cross join lateral private.keyword_misuse(e.key, e.value) m (misuse)
    where m.misuse is not null
    union all
    select unnest(private.schema_problems(s.schema, format('%s/%s', p_path, s.place), p_depth + 1))
    from (
      select e.key as place, e.value as schema from jsonb_each(p_schema) e
      where e.key in ('items', 'additionalProperties', 'not') and jsonb_typeof(e.value) = 'object'
      union all
      select e.key || '/' || p.key, p.value from jsonb_each(p_schema) e
      cross join lateral jsonb_each(case jsonb_typeof(e.value) when 'object' then e.value else '{}' end) p
      where e.key = 'properties'
      union all
      select format('%s/%s', e.key, c.place - 1), c.value from jsonb_each(p_schema) e
      cross join lateral jsonb_array_elements(case jsonb_typeof(e.value) when 'array' then e.value else '[]' end)
        with ordinality c (value, place)
      where e.key in ('anyOf', 'allOf', 'oneOf')
    ) s
  );
end $$;
revoke all on function private.schema_problems(jsonb, text, integer) from public, anon, authenticated, service_role;
