-- Which trades are missing, from the bars alone. A venue's trade ids are contiguous, so within the seconds that hold
-- trades first_trade_id must follow the last_trade_id before, and trade_count must fill the range between them.
-- No row is the proof that no trade is missing between the first and the last second held.
-- (Futures: ids that the venue itself never used show up here; agg_id in agg_trades is contiguous there.)
WITH held AS (
    SELECT
        venue, symbol, window_start, first_trade_id, last_trade_id, trade_count,
        max(last_trade_id) OVER earlier AS last_before,
        max(window_start) OVER earlier AS held_before
    FROM bars_1s
    WHERE trade_count > 0
    WINDOW earlier AS (
        PARTITION BY venue, symbol ORDER BY window_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT
    venue,
    symbol,
    held_before AS after_second,
    window_start AS before_second,
    coalesce(last_before + 1, first_trade_id) AS from_id,
    last_trade_id AS to_id,
    last_trade_id - coalesce(last_before, first_trade_id - 1) - trade_count AS missing
FROM held
-- The ids of two neighbouring seconds may interleave; then their sums are right although each alone is not.
WHERE last_trade_id - coalesce(last_before, first_trade_id - 1) <> trade_count
ORDER BY venue, symbol, before_second;
