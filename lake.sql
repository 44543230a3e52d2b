-- The lake as tables. From the lake's folder:
--
--     duckdb -init lake.sql
--
--   bars_1s            one row per venue, symbol and second
--   bars('1 minute')   the same rolled up to any interval
--   latest             the newest bar of each symbol
--   trades, quotes     every trade and quote of closed minutes; agg_trades where a venue sends them (futures)
--   bars_1s_filled     a row for every second: the close carried through seconds that are proven empty, and no others
--   days               what is proven of each venue, symbol and date: verdict, counts, missing, healed
--   instruments        what the venue said of each symbol, daily: status, tick and lot size
--   feed               what happened to the connections: gaps, disconnects, clock offsets
--
-- Times are UTC, to the microsecond (the files keep nanoseconds). Prices are DOUBLE here and exact decimals in the files.
-- Bars are found by window_start. Trades and quotes lie in files by venue, symbol and date: name these columns in WHERE,
-- and no other file is opened.

SET TimeZone = 'UTC';

-- 1. Where the rows are -----------------------------------------------------------------------------------------------
-- Names and types are given, never guessed: over a minute without a trade a guess types the price away, and the decimals
-- of one symbol would round those of the next.

SET VARIABLE bar_columns = {
    symbol: 'VARCHAR', window_start: 'TIMESTAMPTZ', open: 'DOUBLE', high: 'DOUBLE', low: 'DOUBLE', close: 'DOUBLE',
    volume_base: 'DOUBLE', volume_quote: 'DOUBLE', trade_count: 'BIGINT', vwap: 'DOUBLE', bid: 'DOUBLE', ask: 'DOUBLE',
    spread: 'DOUBLE', bid_qty: 'DOUBLE', ask_qty: 'DOUBLE', quote_count: 'BIGINT', spread_tw: 'DOUBLE',
    buy_volume_base: 'DOUBLE', buy_volume_quote: 'DOUBLE', buy_count: 'BIGINT', first_trade_id: 'BIGINT',
    last_trade_id: 'BIGINT', trade_id_sum: 'BIGINT', is_complete: 'BOOLEAN', quotes_live_ms: 'SMALLINT',
    revision: 'INTEGER', venue: 'VARCHAR'
};
SET VARIABLE line_columns = {
    symbol: 'VARCHAR', ts_event: 'BIGINT', ts_recv: 'BIGINT', price: 'DOUBLE', qty: 'DOUBLE', side: 'VARCHAR',
    bid: 'DOUBLE', ask: 'DOUBLE', stream: 'VARCHAR', ts: 'BIGINT', ts_sent: 'BIGINT', trade_id: 'BIGINT',
    source: 'VARCHAR', trade_type: 'VARCHAR', agg_id: 'BIGINT', first_trade_id: 'BIGINT', last_trade_id: 'BIGINT',
    update_id: 'BIGINT', bid_qty: 'DOUBLE', ask_qty: 'DOUBLE'
};
SET VARIABLE feed_columns = {
    kind: 'VARCHAR', ts: 'BIGINT', ts_recv: 'BIGINT', symbols: 'VARCHAR[]', stream: 'VARCHAR', first_id: 'BIGINT',
    last_id: 'BIGINT', missing: 'BIGINT', from_ts: 'BIGINT', to_ts: 'BIGINT', source: 'VARCHAR', reason: 'VARCHAR',
    status: 'VARCHAR', offset_ns: 'BIGINT', round_trip_ns: 'BIGINT', asleep_ms: 'BIGINT'
};
SET VARIABLE day_columns = {
    venue: 'VARCHAR', symbol: 'VARCHAR', date: 'DATE', verdict: 'VARCHAR', is_over: 'BOOLEAN', is_provisional: 'BOOLEAN',
    issue: 'INTEGER', trades: 'BIGINT', missing: 'BIGINT', healed: 'BIGINT', unhealable: 'BIGINT', quotes: 'BIGINT',
    bars: 'BIGINT', bars_differ: 'BIGINT', klines_compared: 'BIGINT', klines_different: 'BIGINT', first_id: 'BIGINT',
    last_id: 'BIGINT', seconds_with_trades: 'INTEGER', seconds_proven_empty: 'INTEGER', seconds_unknown: 'INTEGER',
    seconds_outside: 'INTEGER', quotes_live_share: 'DOUBLE', outages: 'INTEGER', wrong: 'VARCHAR', notes: 'VARCHAR',
    hours: 'VARCHAR', certificate: 'VARCHAR', certificate_sha256: 'VARCHAR', so_far: 'VARCHAR'
};
SET VARIABLE instrument_columns = {
    venue: 'VARCHAR', date: 'DATE', symbol: 'VARCHAR', status: 'VARCHAR', base: 'VARCHAR', quote: 'VARCHAR',
    kind: 'VARCHAR', tick_size: 'DOUBLE', lot_size: 'DOUBLE', min_qty: 'DOUBLE', max_qty: 'DOUBLE',
    min_notional: 'DOUBLE', asked: 'TIMESTAMPTZ'
};

-- What DuckDB 2.0 brought: a pattern may match no file, and nanoseconds keep their time zone. Before it, a source is its
-- files or nothing, as it was when the session began: on a lake that was empty then, say  .read lake.sql  once more.
SET VARIABLE may_be_empty = (
    SELECT coalesce(bool_or(list_contains(parameters, 'allow_empty')), false)
    FROM duckdb_functions() WHERE function_name = 'read_parquet'
);
SET VARIABLE nanoseconds = (
    SELECT if(count(*) > 0, 'TIMESTAMPTZ_NS', 'TIMESTAMPTZ') FROM duckdb_types() WHERE type_name = 'timestamptz_ns'
);

CREATE OR REPLACE MACRO each_column(columns, pattern) AS (
    SELECT string_agg(replace(replace(pattern, '<name>', key), '<type>', json_extract_string(value, '$')), ', ')
    FROM json_each(to_json(columns))
);
CREATE OR REPLACE MACRO parquet_options(columns) AS
    'hive_partitioning=false, schema=MAP {'
    || each_column(columns, '''<name>'': {name: ''<name>'', type: ''<type>'', default_value: NULL}') || '}';
-- A broken line becomes a row of nulls; the views leave it out, the validator names it.
CREATE OR REPLACE MACRO json_options(columns) AS
    'format=''newline_delimited'', hive_partitioning=false, ignore_errors=true, columns={'
    || each_column(columns, '<name>: ''<type>''') || '}';
CREATE OR REPLACE MACRO reader_of(reader, options, pattern) AS
    reader || '(''' || replace(pattern, '''', '''''') || ''', filename=true, ' || options
    || if(getvariable('may_be_empty'), ', allow_empty=true', '') || ')';
-- The files' rows; where there is no file yet no rows, and below them those of the files to come.
CREATE OR REPLACE MACRO source_of(columns, reader, options, pattern, found) AS
    CASE WHEN found > 0
         THEN 'SELECT ' || each_column(columns, '<name>') || ', filename FROM ' || reader_of(reader, options, pattern)
         ELSE 'SELECT ' || each_column(columns, '<name>') || ', filename FROM (SELECT '
              || each_column(columns, 'NULL::<type> AS <name>') || ', '''' AS filename WHERE false'
              || if(getvariable('may_be_empty'), ' UNION ALL BY NAME FROM ' || reader_of(reader, options, pattern), '') || ')'
    END;

SET VARIABLE bar_source = (
    SELECT source_of(getvariable('bar_columns'), 'read_parquet', parquet_options(getvariable('bar_columns')),
                     'parquet/**/*.parquet', count(*))
    FROM glob('parquet/**/*.parquet')
);
SET VARIABLE raw_source = (
    SELECT source_of(getvariable('line_columns'), 'read_json', json_options(getvariable('line_columns')),
                     'raw/*/*/*/part_*.jsonl*', count(*))
    FROM glob('raw/*/*/*/part_*.jsonl*')
);
SET VARIABLE feed_source = (
    SELECT source_of(getvariable('feed_columns'), 'read_json', json_options(getvariable('feed_columns')),
                     'feed/*/*/part_*.jsonl*', count(*))
    FROM glob('feed/*/*/part_*.jsonl*')
);
SET VARIABLE days_source = (
    SELECT source_of(getvariable('day_columns'), 'read_parquet', parquet_options(getvariable('day_columns')),
                     'quality/*.parquet', count(*))
    FROM glob('quality/*.parquet')
);
SET VARIABLE instruments_source = (
    SELECT source_of(getvariable('instrument_columns'), 'read_parquet', parquet_options(getvariable('instrument_columns')),
                     'instruments/*/*.parquet', count(*))
    FROM glob('instruments/*/*.parquet')
);
SET VARIABLE tick_columns = struct_update(
    getvariable('line_columns'), ts := getvariable('nanoseconds'), ts_event := getvariable('nanoseconds'),
    ts_recv := getvariable('nanoseconds'), ts_sent := getvariable('nanoseconds')
);
CREATE OR REPLACE MACRO tick_source_of(kind, found) AS
    source_of(getvariable('tick_columns'), 'read_parquet', parquet_options(getvariable('tick_columns')),
              'ticks/*/*/' || kind || '/*.parquet', found);
SET VARIABLE trades_source = (SELECT tick_source_of('trades', count(*)) FROM glob('ticks/*/*/trades/*.parquet'));
SET VARIABLE quotes_source = (SELECT tick_source_of('quotes', count(*)) FROM glob('ticks/*/*/quotes/*.parquet'));
SET VARIABLE agg_trades_source = (
    SELECT tick_source_of('agg_trades', count(*)) FROM glob('ticks/*/*/agg_trades/*.parquet')
);
CREATE OR REPLACE MACRO bar_source() AS getvariable('bar_source');
CREATE OR REPLACE MACRO raw_source() AS getvariable('raw_source');
CREATE OR REPLACE MACRO feed_source() AS getvariable('feed_source');
CREATE OR REPLACE MACRO days_source() AS getvariable('days_source');
CREATE OR REPLACE MACRO instruments_source() AS getvariable('instruments_source');
CREATE OR REPLACE MACRO trades_source() AS getvariable('trades_source');
CREATE OR REPLACE MACRO quotes_source() AS getvariable('quotes_source');
CREATE OR REPLACE MACRO agg_trades_source() AS getvariable('agg_trades_source');

-- 2. Bars -------------------------------------------------------------------------------------------------------------
-- A second with quotes and no trades has a row whose prices are null; a second with neither has no row.

CREATE OR REPLACE VIEW bars_1s AS
SELECT * EXCLUDE (filename), (window_start AT TIME ZONE 'UTC')::DATE AS date FROM query(bar_source());

-- A sum of many floats, to the 15 digits that a float surely holds: the same whatever the order of rows, and equal to the
-- venue's own figure where that has no more digits.
CREATE OR REPLACE MACRO total(x) AS
    round(fsum(x), (14 - floor(log10(greatest(abs(fsum(x)), 1e-300))))::INTEGER);

-- bars('1 minute'), bars('4 hours'), bars('1 day'): buckets begin at UTC whatever the session's time zone, weeks on Monday.
-- Prices are first and last by time, sums of sums, means weighted as the seconds were.
CREATE OR REPLACE MACRO bars(every) AS TABLE
SELECT
    venue, symbol,
    -- as window_start AT TIME ZONE 'UTC', without asking the calendar for each second
    make_timestamptz(epoch_us(time_bucket(every::INTERVAL, make_timestamp(epoch_us(window_start))))) AS window_start,
    arg_min(open, window_start) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, window_start) AS close,
    total(volume_base) AS volume_base,
    total(volume_quote) AS volume_quote,
    sum(trade_count)::BIGINT AS trade_count,
    total(volume_quote) / nullif(total(volume_base), 0) AS vwap,
    arg_max_null(bid, window_start) AS bid,
    arg_max_null(ask, window_start) AS ask,
    arg_max_null(spread, window_start) AS spread,
    arg_max_null(bid_qty, window_start) AS bid_qty,
    arg_max_null(ask_qty, window_start) AS ask_qty,
    sum(quote_count)::BIGINT AS quote_count,
    total(spread_tw * quotes_live_ms) / nullif(sum(quotes_live_ms) FILTER (spread_tw IS NOT NULL), 0) AS spread_tw,
    total(buy_volume_base) AS buy_volume_base,
    total(buy_volume_quote) AS buy_volume_quote,
    sum(buy_count)::BIGINT AS buy_count,
    min(first_trade_id) AS first_trade_id,
    max(last_trade_id) AS last_trade_id,
    bool_and(is_complete) AS is_complete,
    sum(quotes_live_ms)::BIGINT AS quotes_live_ms,
    count(*) AS seconds
FROM bars_1s
GROUP BY ALL;

CREATE OR REPLACE VIEW latest AS
SELECT * FROM bars_1s
WHERE (venue, symbol, window_start) IN (SELECT (venue, symbol, max(window_start)) FROM bars_1s GROUP BY venue, symbol);

-- Every second from the first to the last bar of a symbol. Between two trades with consecutive ids nothing was traded:
-- there the price stands where it stood, and volumes are 0 (`is_empty`). Of any other second without a trade nothing is known:
-- it stays null. Quotes are not carried: a row says when they stood. Name a symbol in WHERE, the rest is not made then.
CREATE OR REPLACE VIEW bars_1s_filled AS
WITH ends AS (
    SELECT venue, symbol, min(window_start) AS first, max(window_start) AS last,
           min(window_start) FILTER (trade_count > 0) AS first_traded
    FROM bars_1s
    GROUP BY venue, symbol
), traded AS (
    SELECT
        venue, symbol, window_start AS since, close AS carried, lead(window_start) OVER in_order AS next,
        -- Ids of neighbouring seconds may interleave; then is_complete of the later one knows.
        lead(is_complete) OVER in_order OR lead(first_trade_id) OVER in_order = max(last_trade_id) OVER so_far + 1
            AS is_proven
    FROM bars_1s
    WHERE trade_count > 0
    WINDOW
        in_order AS (PARTITION BY venue, symbol ORDER BY window_start),
        so_far AS (PARTITION BY venue, symbol ORDER BY window_start ROWS UNBOUNDED PRECEDING)
), stretches AS (
    -- From each second with trades to the next, and from the first row to the first trade. (An ASOF join would say it more
    -- shortly; not knowing how many rows there are, the planner makes a nested loop of it: minutes for a day.)
    SELECT venue, symbol, since, coalesce(next - INTERVAL '1 second', last) AS until, carried, is_proven, since AS traded
    FROM traded JOIN ends USING (venue, symbol)
    UNION ALL
    SELECT venue, symbol, first, coalesce(first_traded - INTERVAL '1 second', last), NULL, NULL, NULL
    FROM ends
), seconds AS (
    SELECT venue, symbol, carried, is_proven, traded,
           unnest(generate_series(since, until, INTERVAL '1 second')) AS window_start
    FROM stretches
), dense AS (
    SELECT venue, symbol, window_start, carried,
           CASE WHEN traded = window_start THEN false WHEN is_proven THEN true END AS is_empty
    FROM seconds
)
SELECT
    symbol, window_start,
    CASE WHEN is_empty THEN carried ELSE open END AS open,
    CASE WHEN is_empty THEN carried ELSE high END AS high,
    CASE WHEN is_empty THEN carried ELSE low END AS low,
    CASE WHEN is_empty THEN carried ELSE close END AS close,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN volume_base END AS volume_base,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN volume_quote END AS volume_quote,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN trade_count END AS trade_count,
    vwap, bid, ask, spread, bid_qty, ask_qty, quote_count, spread_tw,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN buy_volume_base END AS buy_volume_base,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN buy_volume_quote END AS buy_volume_quote,
    CASE WHEN is_empty THEN 0 WHEN NOT is_empty THEN buy_count END AS buy_count,
    first_trade_id, last_trade_id, trade_id_sum, is_complete, quotes_live_ms, revision, venue,
    (window_start AT TIME ZONE 'UTC')::DATE AS date, is_empty
FROM dense LEFT JOIN bars_1s USING (venue, symbol, window_start);

-- 3. Trades and quotes ------------------------------------------------------------------------------------------------
-- Of a closed day from its tick file, of any other from the archive's lines: each event once, also while both exist.

CREATE OR REPLACE MACRO folder(filename, up) AS string_split(replace(filename, '\', '/'), '/')[-up];
-- A symbol beyond A-Z and 0-9 has its folder's name percent-encoded. Looked up, for what may fail (decoding) would have
-- every file opened before the name is known.
SET VARIABLE encoded = (
    SELECT map_from_entries(coalesce(list((name, url_decode(name))), [])) FROM (
        SELECT DISTINCT folder(file, 3) AS name FROM glob('raw/*/*/*/part_*.jsonl*') WHERE contains(folder(file, 3), '%')
        UNION
        SELECT DISTINCT folder(file, 3) FROM glob('ticks/*/*/trades/*.parquet') WHERE contains(folder(file, 3), '%')
    )
);
CREATE OR REPLACE MACRO encoded() AS getvariable('encoded');
CREATE OR REPLACE MACRO symbol_of(folder) AS coalesce(encoded()[folder], folder);
CREATE OR REPLACE MACRO utc(ns) AS make_timestamptz(ns // 1000);
CREATE OR REPLACE MACRO raw_day(filename) AS folder(filename, 4) || '/' || folder(filename, 3) || '/' || folder(filename, 2);
CREATE OR REPLACE MACRO tick_day(filename) AS
    folder(filename, 4) || '/' || folder(filename, 3) || '/' || left(folder(filename, 1), 10);

-- Days compacted before the session began are left out by the names of their files; the views look again for later ones.
SET VARIABLE compacted = (SELECT coalesce(list(tick_day(file)), []) FROM glob('ticks/*/*/trades/*.parquet'));
CREATE OR REPLACE MACRO compacted() AS getvariable('compacted');

CREATE OR REPLACE VIEW raw_lines AS
SELECT
    folder(filename, 4) AS venue, symbol_of(folder(filename, 3)) AS symbol, folder(filename, 2)::DATE AS date,
    utc(ts) AS ts, utc(ts_event) AS ts_event, utc(ts_sent) AS ts_sent, utc(ts_recv) AS ts_recv,
    * EXCLUDE (symbol, ts, ts_event, ts_sent, ts_recv, filename), raw_day(filename) AS day
FROM query(raw_source())
WHERE NOT list_contains(compacted(), raw_day(filename)) AND stream IS NOT NULL AND ts IS NOT NULL;

CREATE OR REPLACE VIEW trades AS
SELECT
    folder(filename, 4) AS venue, symbol_of(folder(filename, 3)) AS symbol, left(folder(filename, 1), 10)::DATE AS date,
    utc(epoch_ns(ts)) AS ts, utc(epoch_ns(ts_event)) AS ts_event, utc(epoch_ns(ts_sent)) AS ts_sent,
    utc(epoch_ns(ts_recv)) AS ts_recv,
    price, qty, side, trade_id, source, trade_type
FROM query(trades_source())
UNION ALL
SELECT venue, symbol, date, ts, ts_event, ts_sent, ts_recv, price, qty, side, trade_id, source, trade_type
FROM raw_lines
WHERE stream = 'trade' AND day NOT IN (SELECT tick_day(file) FROM glob('ticks/*/*/trades/*.parquet'));

CREATE OR REPLACE VIEW quotes AS
SELECT
    folder(filename, 4) AS venue, symbol_of(folder(filename, 3)) AS symbol, left(folder(filename, 1), 10)::DATE AS date,
    utc(epoch_ns(ts)) AS ts, utc(epoch_ns(ts_event)) AS ts_event, utc(epoch_ns(ts_sent)) AS ts_sent,
    utc(epoch_ns(ts_recv)) AS ts_recv,
    bid, bid_qty, ask, ask_qty, update_id
FROM query(quotes_source())
UNION ALL
SELECT venue, symbol, date, ts, ts_event, ts_sent, ts_recv, bid, bid_qty, ask, ask_qty, update_id
FROM raw_lines
WHERE stream = 'bookTicker' AND day NOT IN (SELECT tick_day(file) FROM glob('ticks/*/*/quotes/*.parquet'));

CREATE OR REPLACE VIEW agg_trades AS
SELECT
    folder(filename, 4) AS venue, symbol_of(folder(filename, 3)) AS symbol, left(folder(filename, 1), 10)::DATE AS date,
    utc(epoch_ns(ts)) AS ts, utc(epoch_ns(ts_event)) AS ts_event, utc(epoch_ns(ts_sent)) AS ts_sent,
    utc(epoch_ns(ts_recv)) AS ts_recv,
    price, qty, side, agg_id, first_trade_id, last_trade_id, source
FROM query(agg_trades_source())
UNION ALL
SELECT venue, symbol, date, ts, ts_event, ts_sent, ts_recv, price, qty, side, agg_id, first_trade_id, last_trade_id, source
FROM raw_lines
WHERE stream = 'aggTrade' AND day NOT IN (SELECT tick_day(file) FROM glob('ticks/*/*/agg_trades/*.parquet'));

-- 4. The feed ---------------------------------------------------------------------------------------------------------
-- No symbols means all of the venue.

CREATE OR REPLACE VIEW feed AS
SELECT
    folder(filename, 3) AS venue, kind, utc(ts) AS ts, utc(ts_recv) AS ts_recv, symbols,
    utc(from_ts) AS from_ts, utc(to_ts) AS to_ts,
    * EXCLUDE (kind, ts, ts_recv, symbols, from_ts, to_ts, filename)
FROM query(feed_source())
WHERE kind IS NOT NULL;

-- 5. What is proven ---------------------------------------------------------------------------------------------------
-- SELECT ... FROM bars_1s JOIN days USING (venue, symbol, date) WHERE verdict = 'complete'
-- A day that is not over is never complete: it is partial where trades are known to be missing, else unproven. What was
-- observed of it says so_far.

CREATE OR REPLACE VIEW days AS SELECT * EXCLUDE (filename) FROM query(days_source());
CREATE OR REPLACE VIEW instruments AS SELECT * EXCLUDE (filename) FROM query(instruments_source());
