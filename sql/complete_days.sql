-- Hourly bars of days that can be relied on: every trade held (`healed`: some of them fetched afterwards). A day that is
-- not over is neither.
SELECT venue, symbol, date, hour(window_start AT TIME ZONE 'UTC') AS hour_utc,
       arg_min(open, window_start) AS open, max(high) AS high, min(low) AS low, arg_max(close, window_start) AS close,
       total(volume_base) AS volume_base, sum(trade_count)::BIGINT AS trades
FROM bars_1s JOIN days USING (venue, symbol, date)
WHERE verdict IN ('complete', 'healed')
GROUP BY ALL
ORDER BY ALL;
