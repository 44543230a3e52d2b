-- How much of each day is held and proven, by symbol. A second without a row is proven empty if the trades around it have
-- consecutive ids, which is what is_complete says of the next second with trades.
SELECT
    venue,
    symbol,
    (window_start AT TIME ZONE 'UTC')::DATE AS day_utc,
    count(*) AS seconds_with_a_row,
    count(*) FILTER (trade_count > 0) AS seconds_with_trades,
    count(*) FILTER (is_complete) AS seconds_complete,
    sum(trade_count)::BIGINT AS trades_held,
    max(last_trade_id) - min(first_trade_id) + 1 - sum(trade_count)::BIGINT AS trades_missing,
    round(100.0 * sum(quotes_live_ms) / 86400000, 3) AS percent_of_day_quoted
FROM bars_1s
GROUP BY ALL
ORDER BY venue, symbol, day_utc;
