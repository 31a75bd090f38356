"""Types that SQL written by a plugin may name.

An allow-list for PostgreSQL, because a cast computes: `16384::regclass::text` tells the name of
any table, `'x=r/y'::aclitem` whether a role is there. On SQLite a type is a word that gives a
column its affinity and nothing more, so every word is one.
"""

from __future__ import annotations

from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import words

_COMMON = words(
    """
    bigint bit bool boolean char character date decimal double float int integer interval json
    jsonb nchar numeric real smallint text time timestamp varchar
    """
)
_SQLITE = words(
    """
    binary blob clob datetime nvarchar tinyint timestamptz timetz varbinary varying
    """
)
_POSTGRESQL = words(
    """
    bigserial box bpchar bytea cidr circle citext datemultirange daterange dec float4 float8
    halfvec hstore inet int2 int4 int4multirange int4range int8 int8multirange int8range jsonpath
    line lseg ltree macaddr macaddr8 money national nummultirange numrange path point polygon
    regconfig serial serial2 serial4 serial8 smallserial timestamptz timetz tsmultirange tsquery
    tsrange tstzmultirange tstzrange tsvector uuid varbit varying vector xml
    """
)

WITH_ARGUMENTS = {
    Dialect.SQLITE: _COMMON | _SQLITE,
    Dialect.POSTGRESQL: _COMMON | _POSTGRESQL,
}
"""Lower-case names of the types that may stand before a parenthesis, per engine."""

ALLOWED = {Dialect.SQLITE: None, Dialect.POSTGRESQL: WITH_ARGUMENTS[Dialect.POSTGRESQL]}
"""Lower-case first words of the allowed types, per engine; None allows every word.

`regconfig` is the one reg* type: it names text search configurations, which no plugin owns.
"""
