-- Addresses without a name as source of traffic, by bytes, with the reason.
SELECT src_ip AS address, src_vpc AS vpc, src_grade AS grade, src_reason AS reason, SUM(bytes) AS bytes, COUNT(*) AS "rows"
FROM {raw} WHERE __time >= {from} AND __time < {to} AND src_app IN ('unknown', 'ambiguous')
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT {limit}
