"""Functions that SQL written by a plugin may call (SPEC 3.8, 4).

An allow-list: a function that is not here may read files, run SQL given as text, reach another
server or change the session, and nobody can list those for every engine and extension.
"""

from __future__ import annotations

from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import words

_COMMON = words(
    """
    abs avg cast ceil ceiling coalesce concat concat_ws count cume_dist dense_rank exp
    first_value floor format lag last_value lead length ln log lower ltrim max min mod
    nth_value ntile nullif octet_length percent_rank pi pow power rank replace round row_number
    rtrim sign sqrt string_agg substr substring sum trim trunc upper
    """
)
_SQLITE = words(
    """
    char date datetime glob group_concat hex ifnull iif instr json json_array json_array_length
    json_each json_error_position json_extract json_group_array json_group_object json_insert
    json_object json_patch json_quote json_remove json_replace json_set json_tree json_type
    json_valid julianday like likelihood likely log10 log2 printf quote raise random randomblob
    strftime time timediff total typeof unhex unicode unixepoch unlikely
    """
)
_POSTGRESQL = words(
    """
    age any array_agg array_append array_cat array_length array_lower array_position
    array_positions array_prepend array_remove array_replace array_to_json array_to_string
    array_upper ascii bit_and bit_or bool_and bool_or btrim cardinality cbrt char_length
    character_length chr clock_timestamp current_time current_timestamp date_bin date_part
    date_trunc decode div encode every extract gen_random_uuid generate_series
    generate_subscripts greatest initcap isfinite json_agg json_array_elements
    json_array_elements_text json_array_length json_build_array json_build_object json_each
    json_each_text json_extract_path json_extract_path_text json_object json_object_agg
    json_object_keys json_strip_nulls json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
    jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls
    jsonb_typeof justify_days justify_hours justify_interval least left localtime
    localtimestamp lpad make_date make_interval make_time make_timestamp make_timestamptz md5 mode
    now num_nonnulls num_nulls
    overlay percentile_cont percentile_disc phraseto_tsquery plainto_tsquery position random
    regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr reverse right row_to_json rpad
    setweight sha224 sha256 sha384 sha512 some split_part starts_with statement_timestamp
    stddev stddev_pop stddev_samp string_to_array string_to_table strpos to_char to_date to_hex
    to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp
    translate ts_headline ts_rank ts_rank_cd unnest var_pop var_samp variance
    websearch_to_tsquery width_bucket
    """
)

ALLOWED = {
    Dialect.SQLITE: _COMMON | _SQLITE,
    Dialect.POSTGRESQL: _COMMON | _POSTGRESQL,
}
"""Lower-case names of the allowed functions, per engine."""

NONDETERMINISTIC = words(
    """
    age clock_timestamp current_date current_time current_timestamp date datetime gen_random_uuid
    julianday localtime localtimestamp now random randomblob statement_timestamp strftime time
    transaction_timestamp unixepoch
    """
)
"""Lower-case names of what asks the clock or chance, on either engine."""
