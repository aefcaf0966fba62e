-- Conditions: the small language of validation_rules (docs/validation.md), JSON that says what must hold of a row.
--
-- It is total: whatever the row holds, a condition that was accepted is true or false, and neither raises nor runs
-- anything. What is absent or null compares with nothing, so every comparison with it is false but != and not_in.
--
--   {"field": "attributes.weight", "op": ">", "value": 0}        a value; "other": "price" compares two fields
--   {"and": […]}  {"or": […]}  {"not": …}  {"if": …, "then": …}

-- -1, 0 or 1; null where two values have no order: other types, or one is absent. Text compares by code point.
create function private.compare_values(p_a jsonb, p_b jsonb) returns integer
language sql immutable set search_path = ''
as $$
  select case
    when jsonb_typeof(p_a) = 'number' and jsonb_typeof(p_b) = 'number' then sign(p_a::numeric - p_b::numeric)::integer
    when jsonb_typeof(p_a) = 'string' and jsonb_typeof(p_b) = 'string' then
      case when p_a = p_b then 0 when (p_a #>> '{}') collate "C" < (p_b #>> '{}') collate "C" then -1 else 1 end
  end
$$;
revoke all on function private.compare_values(jsonb, jsonb) from public, anon, authenticated, service_role;

-- True if a value lies in [low, high], where null leaves a side open.
create function private.lies_between(p_value jsonb, p_bounds jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    (p_bounds -> 0 = 'null' or private.compare_values(p_value, p_bounds -> 0) >= 0)
    and (p_bounds -> 1 = 'null' or private.compare_values(p_value, p_bounds -> 1) <= 0), false)
$$;
revoke all on function private.lies_between(jsonb, jsonb) from public, anon, authenticated, service_role;

-- The value of a field such as price or attributes.size.chest; null if it is absent or null.
create function private.field_value(p_row jsonb, p_field text) returns jsonb
language sql immutable set search_path = ''
as $$ select nullif(p_row #> string_to_array(p_field, '.'), 'null') $$;
revoke all on function private.field_value(jsonb, text) from public, anon, authenticated, service_role;

-- Whether one comparison holds.
create function private.comparison_holds(p_condition jsonb, p_row jsonb) returns boolean
language plpgsql immutable set search_path = ''
as $$
declare
  v_value constant jsonb := private.field_value(p_row, p_condition ->> 'field');
  v_with constant jsonb := case when p_condition ? 'other' then private.field_value(p_row, p_condition ->> 'other')
    else p_condition -> 'value' end;
begin
  return coalesce(case p_condition ->> 'op'
    when 'present' then v_value is not null
    when 'absent' then v_value is null
    when '=' then v_value = v_with
    when '!=' then v_value is distinct from v_with
    when '<' then private.compare_values(v_value, v_with) < 0
    when '<=' then private.compare_values(v_value, v_with) <= 0
    when '>' then private.compare_values(v_value, v_with) > 0
    when '>=' then private.compare_values(v_value, v_with) >= 0
    when 'in' then v_with @> jsonb_build_array(v_value) and v_value is not null
    when 'not_in' then v_value is null or not v_with @> jsonb_build_array(v_value)
    when 'matches' then jsonb_typeof(v_value) = 'string' and (v_value #>> '{}') ~ (v_with #>> '{}')
    when 'between' then private.lies_between(v_value, v_with)
    when 'length' then private.lies_between(
      case jsonb_typeof(v_value) when 'string' then to_jsonb(length(v_value #>> '{}'))
        when 'array' then to_jsonb(jsonb_array_length(v_value)) end, v_with)
  end, false);
end $$;
revoke all on function private.comparison_holds(jsonb, jsonb) from public, anon, authenticated, service_role;

create function private.condition_holds(p_condition jsonb, p_row jsonb) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_condition ? 'and' then not exists (
      select from jsonb_array_elements(p_condition -> 'and') c where not private.condition_holds(c, p_row))
    when p_condition ? 'or' then exists (
      select from jsonb_array_elements(p_condition -> 'or') c where private.condition_holds(c, p_row))
    when p_condition ? 'not' then not private.condition_holds(p_condition -> 'not', p_row)
    when p_condition ? 'if' then
      not private.condition_holds(p_condition -> 'if', p_row) or private.condition_holds(p_condition -> 'then', p_row)
    else private.comparison_holds(p_condition, p_row)
  end;
end $$;
revoke all on function private.condition_holds(jsonb, jsonb) from public, anon, authenticated, service_role;

-- Why a name is no field of an entity, or null. The fields are those that a client writes.
create function private.field_problem(p_entity text, p_field jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case
    when jsonb_typeof(p_field) is distinct from 'string' then 'must name a field'
    when p_entity = 'product' and p_field #>> '{}'
      ~ '^(sku|name|description|status|price|currency|parent_id|category_id|publish_at|attributes(\.[^.]{1,100}){0,8})$' then null
    else format('names no field of a %s: %s', p_entity, left(p_field #>> '{}', 60))
  end
$$;
revoke all on function private.field_problem(text, jsonb) from public, anon, authenticated, service_role;

-- Why an operator's operand is not accepted, or null.
create function private.operand_problem(p_op text, p_value jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case
    when p_op in ('present', 'absent') then case when p_value is not null then 'takes no value' end
    when p_op in ('=', '!=') then
      case when coalesce(jsonb_typeof(p_value), 'null') not in ('string', 'number', 'boolean') then 'needs text, a number, true or false' end
    when p_op in ('<', '<=', '>', '>=') then
      case when coalesce(jsonb_typeof(p_value), 'null') not in ('string', 'number') then 'needs text or a number' end
    when p_op in ('in', 'not_in') then
      case when jsonb_typeof(p_value) is distinct from 'array' or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() == "object" || @.type() == "array" || @ == null)')
        or p_value = '[]' or p_value #> '{100}' is not null then 'needs a list of 1 to 100 texts, numbers or booleans' end
    when p_op = 'matches' then
      case when jsonb_typeof(p_value) is distinct from 'string' then 'needs a regular expression'
        else private.pattern_problem(p_value #>> '{}') end
    when p_op in ('between', 'length') then
      case when jsonb_typeof(p_value) is distinct from 'array' or p_value #> '{1}' is null or p_value #> '{2}' is not null
        or p_value = '[null, null]'
        or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() != "number" && @ != null)') and (p_op = 'length'
          or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() != "string" && @ != null)'))
      then 'needs [low, high], of which one may be null' end
    else 'is no operator'
  end
$$;
revoke all on function private.operand_problem(text, jsonb) from public, anon, authenticated, service_role;

-- Why one comparison is not accepted, or null.
create function private.comparison_problem(p_entity text, p_condition jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_op constant text := p_condition ->> 'op';
  v_operand text;
begin
  if p_condition - '{field,op,value,other}'::text[] <> '{}' then
    return 'must be one of and, or, not, if with then, or a comparison of field, op and value or other';
  elsif private.field_problem(p_entity, p_condition -> 'field') is not null then
    return 'field ' || private.field_problem(p_entity, p_condition -> 'field');
  elsif not p_condition ? 'other' then
    v_operand := private.operand_problem(v_op, p_condition -> 'value');
    return case when v_op is null then 'op is missing' else v_op || ' ' || v_operand end;
  elsif p_condition ? 'value' then
    return 'has both a value and another field';
  elsif v_op not in ('=', '!=', '<', '<=', '>', '>=') or v_op is null then
    return 'other goes with = != < <= > >= alone';
  end if;
  return 'other ' || private.field_problem(p_entity, p_condition -> 'other');
end $$;
revoke all on function private.comparison_problem(text, jsonb) from public, anon, authenticated, service_role;

-- Why a condition is not accepted, one line a problem; empty if it is. At most 8 KiB, 8 deep and 64 parts.
create function private.condition_problems(p_entity text, p_condition jsonb, p_path text default '', p_depth integer default 0)
returns text[]
language plpgsql immutable set search_path = ''
as $$
declare
  v_words constant text[] := array(
    select k from jsonb_object_keys(case jsonb_typeof(p_condition) when 'object' then p_condition else '{}' end) k order by k);
begin
  if jsonb_typeof(p_condition) is distinct from 'object' then
    return array[p_path || '/ must be an object'];
  elsif p_depth = 0 and (octet_length(p_condition::text) > 8192
    or (select count(*) from jsonb_path_query(p_condition, 'strict $.** ? (@.type() == "object")')) > 64) then
    return array['the condition is larger than 8 KiB or 64 parts'];
  elsif p_depth > 8 then
    return array[p_path || ' is nested more than 8 deep'];
  elsif v_words in ('{and}', '{or}') then
    if jsonb_typeof(p_condition -> v_words[1]) <> 'array' or p_condition -> v_words[1] = '[]' then
      return array[format('%s/%s must be a list of conditions', p_path, v_words[1])];
    end if;
    return array(
      select unnest(private.condition_problems(p_entity, c.value, format('%s/%s/%s', p_path, v_words[1], c.place - 1), p_depth + 1))
      from jsonb_array_elements(p_condition -> v_words[1]) with ordinality c (value, place));
  elsif v_words in ('{not}', '{if,then}') then
    return array(
      select unnest(private.condition_problems(p_entity, p_condition -> w, format('%s/%s', p_path, w), p_depth + 1))
      from unnest(v_words) w);
  end if;
  return array_remove(array[p_path || '/ ' || private.comparison_problem(p_entity, p_condition)], null);
end $$;
revoke all on function private.condition_problems(text, jsonb, text, integer) from public, anon, authenticated, service_role;
