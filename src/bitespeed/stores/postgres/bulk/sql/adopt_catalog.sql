-- What the catalogue says about the table to adopt.

-- name: relation
select c.oid, n.nspname, c.relname, c.relkind::text, c.relrowsecurity, o.rolname,
       c.relowner = (select oid from pg_roles where rolname = current_user)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_roles o on o.oid = c.relowner
where c.oid = to_regclass(%(name)s)

-- name: columns
select a.attname, tn.nspname, t.typname, t.typtype::text,
       case when t.typname in ('varchar', 'bpchar') and a.atttypmod > 0 then a.atttypmod - 4
            when t.typname in ('timestamp', 'timestamptz') and a.atttypmod >= 0 then a.atttypmod
       end,
       cn.nspname, co.collname
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_namespace tn on tn.oid = t.typnamespace
left join pg_collation co on co.oid = a.attcollation
left join pg_namespace cn on cn.oid = co.collnamespace
where a.attrelid = %(table)s and a.attnum > 0 and not a.attisdropped
order by a.attnum

-- name: dependents
-- All objects that depend on the table or its row type, except the table's own parts, which move with
-- it.
select distinct d.classid::regclass::text, d.objid,
       coalesce(view.relkind::text, ''), coalesce(fk.conname, ''),
       coalesce(vn.nspname, fn.nspname, ''), coalesce(view.relname, ft.relname, ''),
       case when view.oid is null then pg_describe_object(d.classid, d.objid, 0)
       else pg_describe_object('pg_class'::regclass, view.oid, 0)
       end as description, view.oid
from pg_class self
join pg_depend d on (d.refclassid = 'pg_class'::regclass and d.refobjid = self.oid)
                 or (d.refclassid = 'pg_type'::regclass
                     and d.refobjid in (self.reltype, (select typarray from pg_type where oid = self.reltype)))
left join pg_rewrite rule on d.classid = 'pg_rewrite'::regclass and rule.oid = d.objid
left join pg_class view on view.oid = rule.ev_class and rule.rulename = '_RETURN'
left join pg_namespace vn on vn.oid = view.relnamespace
left join pg_constraint fk on d.classid = 'pg_constraint'::regclass and fk.oid = d.objid
                           and fk.contype = 'f' and fk.confrelid = self.oid
left join pg_class ft on ft.oid = fk.conrelid
left join pg_namespace fn on fn.oid = ft.relnamespace
where self.oid = %(table)s
  and case d.classid::regclass::text
      when 'pg_class' then (select relkind not in ('i', 'S', 't') from pg_class where oid = d.objid)
      when 'pg_type' then d.objid not in (self.reltype, (select typarray from pg_type where oid = self.reltype))
      when 'pg_attrdef' then (select adrelid <> self.oid from pg_attrdef where oid = d.objid)
      when 'pg_constraint' then (select conrelid <> self.oid and conparentid = 0 from pg_constraint where oid = d.objid)
      when 'pg_trigger' then (select not tgisinternal from pg_trigger where oid = d.objid)
      else d.classid::regclass::text <> 'pg_statistic_ext'
      end
order by description

-- name: parents
select inhparent::regclass::text from pg_inherits where inhrelid = %(table)s

-- name: view
select pg_get_viewdef(c.oid), coalesce(c.reloptions, '{}') from pg_class c where c.oid = %(view)s

-- name: grants
-- An empty role is `public`; a null column is the whole table.
select coalesce(r.rolname, ''), lower(g.privilege_type), g.is_grantable, g.attname,
       coalesce(r.rolsuper or r.rolbypassrls, false)
from (select (aclexplode(c.relacl)).*, null::name as attname
      from pg_class c
      where c.oid = %(table)s
      union all
      select (aclexplode(a.attacl)).*, a.attname
      from pg_attribute a
      where a.attrelid = %(table)s and a.attacl is not null) as g
left join pg_roles r on r.oid = g.grantee
where g.grantee <> (select relowner from pg_class where oid = %(table)s)
order by 1, 2, 4

-- name: last_id
-- The highest id that the table's own sequence has given out, also to rows deleted since.
select coalesce(max(pg_sequence_last_value(d.objid)), 0)
from pg_depend d
join pg_class s on s.oid = d.objid and s.relkind = 'S'
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
  and d.refobjid = %(table)s and d.deptype in ('a', 'i')

-- name: adopted
select coalesce(obj_description(to_regclass('bitespeed.adopted_contact'), 'pg_class'), 'it'),
       to_regclass('bitespeed.adopted_contact') is not null,
       to_regclass('bitespeed.contact_record') is not null
