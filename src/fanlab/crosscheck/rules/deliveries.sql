-- What came: each delivery with its place among the copies of its message, in the order received.

-- A publish that may have happened between a client's first asking for the channel and its leaving may come to it.
CREATE TABLE copy AS
WITH
  came AS (
    SELECT id * (1 << 28) AS id, recv, intended, seq, client, stream, node, lag_us FROM delivery
    UNION ALL SELECT * FROM arrival
  ),
  numbered AS (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY client, stream, seq ORDER BY recv, id) AS n FROM came
  )
SELECT numbered.client, numbered.stream, numbered.seq, id, recv, node,
  COALESCE(message.intended, numbered.intended) AS intended, lag_us, n,
  COALESCE(message.intended, numbered.intended) >= zero AS measured,
  COALESCE(exists_maybe AND done >= ask AND sent <= gone, 0) AS owed  -- NULL: no such message, or never asked for
FROM run CROSS JOIN numbered
  LEFT JOIN message ON message.stream = numbered.stream AND message.seq = numbered.seq
  LEFT JOIN promise ON promise.client = numbered.client AND promise.stream = numbered.stream;

-- First copies of what was owed. `top` is the highest number of the stream that the client had before it.
CREATE TABLE got (
  client INTEGER, stream INTEGER, seq INTEGER, recv INTEGER, node INTEGER, measured INTEGER, id INTEGER, top INTEGER,
  PRIMARY KEY (client, stream, seq)
) WITHOUT ROWID;

INSERT INTO got
SELECT client, stream, seq, recv, node, measured, id, MAX(seq) OVER (
  PARTITION BY client, stream ORDER BY recv, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
)
FROM copy
WHERE n = 1 AND owed;
