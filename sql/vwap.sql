-- Volume-weighted average price of each symbol and hour, and what takers bought of it.
-- The mean of the seconds' own vwap would be wrong: seconds weigh by what was traded in them.
SELECT
    venue,
    symbol,
    date_trunc('hour', window_start AT TIME ZONE 'UTC') AS hour_utc,
    total(volume_quote) / nullif(total(volume_base), 0) AS vwap,
    total(buy_volume_quote) / nullif(total(buy_volume_base), 0) AS vwap_of_buyers,
    total(buy_volume_base) / nullif(total(volume_base), 0) AS share_bought,
    sum(trade_count)::BIGINT AS trade_count
FROM bars_1s
GROUP BY ALL
ORDER BY venue, symbol, hour_utc;
