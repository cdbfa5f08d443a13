-- How well ends are named: rows and bytes by grade of both ends.
SELECT src_grade, dst_grade, COUNT(*) AS "rows", SUM(bytes) AS bytes
FROM {raw} WHERE __time >= {from} AND __time < {to}
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {limit}
