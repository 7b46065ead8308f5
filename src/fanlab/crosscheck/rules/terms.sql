-- Each term of the account, message by message and in all.

-- `measured` of a delivery goes by the message's intended time, or by what it claims itself if nobody published it.
CREATE VIEW member AS
SELECT 'lost' AS term, client, stream, seq, 0 AS recv, measured FROM missing WHERE lost
UNION ALL SELECT 'indeterminate', client, stream, seq, 0, measured FROM missing WHERE NOT lost
UNION ALL SELECT 'duplicated', client, stream, seq, recv, measured FROM copy WHERE n > 1
UNION ALL SELECT 'reordered', client, stream, seq, recv, measured FROM got WHERE seq < top
UNION ALL SELECT 'unexpected', client, stream, seq, recv, measured FROM copy WHERE n = 1 AND NOT owed
UNION ALL SELECT 'disagreed', client, stream, seq, recv, measured FROM disagreement
UNION ALL SELECT 'corrupted', client, stream, seq, recv, measured FROM corruption;

CREATE TABLE term AS
SELECT 'published' AS term, measured, COUNT(*) AS count FROM message WHERE exists_maybe GROUP BY measured
UNION ALL SELECT 'owed', measured, owed FROM debt
UNION ALL SELECT 'delivered', measured, COUNT(*) FROM got GROUP BY measured
UNION ALL SELECT term, measured, COUNT(*) FROM member GROUP BY term, measured;

CREATE VIEW trace AS
WITH
  came AS (
    SELECT client, node, stream, seq, CASE WHEN n > 1 THEN 'copy' WHEN owed THEN 'delivered' ELSE 'unexpected' END AS outcome,
      n, intended, intended + lag_us * 1000 AS sent, recv,
      EXISTS (
        SELECT 1 FROM corruption
        WHERE corruption.client = copy.client AND corruption.stream = copy.stream AND corruption.seq = copy.seq
          AND corruption.recv = copy.recv
      ) AS corrupted
    FROM copy
    UNION ALL
    SELECT client, NULL, stream, seq, CASE WHEN lost THEN 'lost' ELSE 'indeterminate' END, NULL, intended, sent, NULL, 0
    FROM missing
    UNION ALL
    SELECT client, node, stream, seq, 'unreadable', NULL, NULL, NULL, recv, 1 FROM corruption WHERE stream = 65535
  )
SELECT came.client, team, node.name, publisher, channel, came.stream, came.seq, outcome, n, corrupted, came.intended,
  COALESCE(message.told_sent, came.sent), recv  -- the publisher knows it to the nanosecond, the token to the microsecond
FROM came
  LEFT JOIN client ON client.client = came.client
  LEFT JOIN stream ON stream.stream = came.stream
  LEFT JOIN node ON node.node = came.node
  LEFT JOIN message ON message.stream = came.stream AND message.seq = came.seq
ORDER BY came.client, COALESCE(recv, came.intended), came.stream, came.seq, n;
