-- What it costs to trade at once: the spread in basis points of the mid price, by symbol and hour.
-- spread_tw is the mean over the part of a second in which a quote stood, and quotes_live_ms the length of that part: they
-- belong together. Hours in which the feed was down show it as minutes_observed below 60, not as a better spread.
SELECT
    venue,
    symbol,
    date_trunc('hour', window_start AT TIME ZONE 'UTC') AS hour_utc,
    10000 * total(spread_tw / ((bid + ask) / 2) * quotes_live_ms) / sum(quotes_live_ms) AS spread_bp,
    quantile_cont(10000 * spread / ((bid + ask) / 2), 0.95) AS spread_bp_p95,
    sum(quotes_live_ms) / 60000.0 AS minutes_observed
FROM bars_1s
WHERE quotes_live_ms > 0 AND bid > 0 AND ask > 0
GROUP BY ALL
ORDER BY venue, symbol, hour_utc;
