-- How long trades took from the venue's matching engine to this machine, in milliseconds, by symbol and day.
-- Only live ones say something; those fetched later (source rest or archive) are left out. Both clocks are in it: what the
-- feed measured of their difference is taken out where it was measured.
WITH offset_of AS (
    SELECT venue, median(offset_ns) / 1e6 AS offset_ms FROM feed WHERE kind = 'clock' GROUP BY venue
)
SELECT
    venue,
    symbol,
    date,
    quantile_cont(epoch_us(ts_recv) - epoch_us(ts_event), 0.5) / 1000 + coalesce(any_value(offset_ms), 0) AS p50_ms,
    quantile_cont(epoch_us(ts_recv) - epoch_us(ts_event), 0.99) / 1000 + coalesce(any_value(offset_ms), 0) AS p99_ms,
    count(*) AS trades
FROM trades LEFT JOIN offset_of USING (venue)
WHERE source = 'ws'
GROUP BY ALL
ORDER BY venue, symbol, date;
