-- Safe text: which HTML a description may hold.
--
-- The check is an allow-list and changes nothing: text is stored as it came or refused with what is wrong in it. It
-- reads tags as browsers do (WHATWG HTML, "tokenization"): `<` opens one only before a letter, `/`, `!` or `?`. What
-- opens as a tag must be a whole tag of the list, in one strict form, with attributes of the list. Values hold neither
-- `<` nor `>`, and elements with other content models (script, style, svg, textarea …) are not in the list, so this
-- reading and a browser's never part.

-- What is wrong with one attribute, or null. `p_value` is without its quotes.
--
-- Links are judged by how they begin, literally: an entity or a space within "javascript:" makes it begin wrong.
create function private.attribute_offence(p_tag text, p_name text, p_value text) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_lengths constant text := '(rgba?|hsla?|calc)\([0-9a-z .,%/+*-]*\)';
  v_styles constant text := '^([ \t\n]*(background(-color)?|border(-[a-z]+)*|box-sizing|clear|(caret-)?color|cursor|direction'
    '|display|float|font(-[a-z]+)*|(max-|min-)?(height|width)|letter-spacing|line-height|list-style(-[a-z]+)*|margin(-[a-z]+)?'
    '|mso-[a-z-]+|object-fit|opacity|orphans|outline(-[a-z]+)*|overflow(-[a-z]+)?|padding(-[a-z]+)?|page-break-[a-z]+'
    '|table-layout|text(-[a-z]+)*|vertical-align|-webkit-text-[a-z-]+|white-space|widows|word-[a-z]+)'
    '[ \t\n]*:[a-z0-9 \t\n#%.,!"''-]*(;|$))*[ \t\n;]*$';
begin
  case
    when p_name = 'href' and p_tag = 'a' then
      if p_value !~* '^(https?://[a-z0-9]|mailto:[^:]|tel:[+0-9]|//[a-z0-9]|/([^/\\]|$)|[#?]|$)'
        and p_value !~* '^[a-z0-9_.~-]+([/?#]|$)' then
        return format('a link to %s', left(p_value, 40));
      end if;
    when p_name = 'src' and p_tag = 'img' then
      if p_value !~* '^(https:)?//[a-z0-9]' and p_value !~ '^/[^/\\]' then
        return format('an image from %s', left(p_value, 40));
      end if;
    when p_name = 'style' then
      if regexp_replace(replace(p_value, '&quot;', '"'), v_lengths, '0', 'gi') !~* v_styles then
        return format('the style %s', left(p_value, 40));
      end if;
    when p_name = 'charset' and p_tag = 'meta' then
      if lower(p_value) <> 'utf-8' then
        return 'a charset other than utf-8';
      end if;
    when p_name !~ '^(abbr|align|alt|bgcolor|border|cellpadding|cellspacing|class|color|cols|colspan|datetime|dir|face|headers'
      '|height|id|lang|loading|rel|reversed|role|rowspan|scope|size|span|start|summary|tabindex|target|title|translate'
      '|type|valign|width|(data|aria)-[a-z0-9_-]+)$' then
      return format('the attribute %s', left(p_name, 40));
    else
      null;
  end case;
  return null;
end $$;
revoke all on function private.attribute_offence(text, text, text) from public, anon, authenticated, service_role;

-- What is wrong with one tag, given what stands between its `<` and `>`; or null.
create function private.tag_offence(p_tag text) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_names constant text := '(a|abbr|article|b|bdi|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt'
    '|em|figcaption|figure|font|footer|h[1-6]|header|hr|i|img|ins|kbd|li|main|mark|meta|ol|o:p|p|pre|q|s|samp|section|small'
    '|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|wbr)';
  v_value constant text := '("[^"`]*"|''[^''`]*''|[^ \t\n"''=`]+)';
  v_attribute text[];
  v_name text;
  v_offence text;
begin
  if p_tag ~* ('^/?' || v_names || '[ \t\n]*/?$') or p_tag ~ '^!--([^-]|-[^-])*--$' then
    return null;
  end if;
  if p_tag !~* ('^' || v_names || '([ \t\n]+[a-z][a-z0-9_:-]*([ \t\n]*=[ \t\n]*' || v_value || ')?)*[ \t\n]*/?$') then
    return format('<%s>', left(p_tag, 40));
  end if;
  v_name := lower(substring(p_tag from '^[a-zA-Z0-9:]+'));
  for v_attribute in
    select regexp_matches(p_tag, '[ \t\n]([a-z][a-z0-9_:-]*)(?:[ \t\n]*=[ \t\n]*' || v_value || ')?', 'gi')
  loop
    v_offence := private.attribute_offence(v_name, lower(v_attribute[1]),
      regexp_replace(coalesce(v_attribute[2], ''), '^["''](.*)["'']$', '\1'));
    if v_offence is not null then
      return format('%s in <%s>', v_offence, v_name);
    end if;
  end loop;
  return null;
end $$;
revoke all on function private.tag_offence(text) from public, anon, authenticated, service_role;

-- What of a text could run as a script where the text is shown as HTML: up to 5 readable finds, empty if nothing.
--
-- Escaped and full-width forms of a scripting tag show as text, but become a tag where a page decodes once too often;
-- no product needs them, so they are refused too.
create function private.html_offences(p_html text) returns text[]
language plpgsql immutable set search_path = ''
as $$
declare
  v_names constant text := '(a|abbr|article|b|bdi|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt'
    '|em|figcaption|figure|font|footer|h[1-6]|header|hr|i|img|ins|kbd|li|main|mark|meta|ol|o:p|p|pre|q|s|samp|section|small'
    '|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|wbr)';
  v_found text[] := '{}';
begin
  if p_html !~ '[<&%\\\uff1c\ufe64]' then
    return v_found;
  end if;
  if p_html ~* ('(&(amp;)*(lt|#0*60|#x0*3c);?|%(25)*3c|\\u003c|\\x3c|\\74|[\uff1c\ufe64])[ \t\n/]*'
    '(script|iframe|frame|object|embed|applet|svg|math|style|link|meta|base|form|img[^a-z].*on[a-z]+ *=)') then
    v_found := v_found || 'a scripting tag in disguise'::text;
  end if;
  -- By far the most texts have none but plain tags.
  if p_html !~* ('<(?!/?' || v_names || '[ \t\n]*/?>)[a-z/!?]') then
    return v_found;
  end if;
  if regexp_replace(p_html, '<[a-z/!?][^<>]*>', '', 'gi') ~* '<[a-z/!?]' then
    v_found := v_found || 'a tag that does not end'::text;
  end if;
  return v_found || array(
    select o.offence
    from (select distinct m[1] as tag from regexp_matches(p_html, '<([a-z/!?][^<>]*)>', 'gi') m) t
    cross join lateral private.tag_offence(t.tag) o (offence)
    where o.offence is not null
    order by o.offence limit 5
  );
end $$;
revoke all on function private.html_offences(text) from public, anon, authenticated, service_role;
