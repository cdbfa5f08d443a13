-- Rows that came more than once (exactly-once mode: none).
SELECT row_id, COUNT(*) AS times
FROM {raw} WHERE __time >= {from} AND __time < {to}
GROUP BY 1 HAVING COUNT(*) > 1 ORDER BY 2 DESC LIMIT {limit}
