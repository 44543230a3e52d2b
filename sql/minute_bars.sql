-- One-minute bars of one symbol, written out: what bars('1 minute') does.
-- Open and close are the first and the last by time, never by the order of files, and skip seconds without a trade.
-- Minutes begin at UTC whatever the session's time zone.
SELECT
    date_trunc('minute', window_start AT TIME ZONE 'UTC') AS minute_utc,
    arg_min(open, window_start) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, window_start) AS close,
    total(volume_base) AS volume_base,          -- from lake.sql: exact, whatever the order of rows
    total(volume_quote) AS volume_quote,
    sum(trade_count)::BIGINT AS trade_count,
    total(buy_volume_base) AS buy_volume_base
FROM bars_1s
WHERE symbol = 'SOLUSDT'
GROUP BY minute_utc
ORDER BY minute_utc;
