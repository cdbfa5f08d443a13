-- Addresses without a name as destination of traffic, by bytes, with the reason.
SELECT dst_ip AS address, dst_vpc AS vpc, dst_grade AS grade, dst_reason AS reason, SUM(bytes) AS bytes, COUNT(*) AS "rows"
FROM {raw} WHERE __time >= {from} AND __time < {to} AND dst_app IN ('unknown', 'ambiguous')
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT {limit}
