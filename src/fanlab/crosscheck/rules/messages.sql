-- Every message that a publisher meant to send: it was published, if at all, between `sent` and `done` of others' clocks.

-- A journal has one outcome of each message; if it has several, the one that admits most stands, of those the last.
CREATE TABLE answer AS
SELECT stream, seq, sent, done, status, receivers
FROM (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY stream, seq
    ORDER BY CASE status WHEN 0 THEN 3 WHEN 2 THEN 2 WHEN 3 THEN 2 WHEN 1 THEN 1 ELSE 0 END DESC, done DESC, id DESC
  ) AS place
  FROM outcome
)
WHERE place = 1;

CREATE TABLE message (
  stream INTEGER, seq INTEGER, intended INTEGER, told_sent INTEGER, sent INTEGER, done INTEGER,
  exists_maybe INTEGER,  -- 1: it was published, or may have been
  doubtful INTEGER,      -- 1: nobody knows whether it was
  failed INTEGER,        -- 1: it certainly was not, though the publisher tried
  measured INTEGER,      -- 1: meant to be sent in the measure phase; 0: in the warm-up
  PRIMARY KEY (stream, seq)
) WITHOUT ROWID;

INSERT INTO message
WITH
  meant AS (SELECT stream, seq, MIN(intended) AS intended FROM intent GROUP BY stream, seq),
  named AS (SELECT stream, seq FROM meant UNION SELECT stream, seq FROM answer),
  told AS (
    SELECT named.stream, named.seq, status, done,
      COALESCE(meant.intended, answer.sent) AS intended,
      COALESCE(NULLIF(answer.sent, 0), meant.intended, 0) AS sent
    FROM named LEFT JOIN meant USING (stream, seq) LEFT JOIN answer USING (stream, seq)
  )
SELECT told.stream, seq, intended, sent, sent - apart,
  CASE WHEN status IS NULL THEN never ELSE MAX(done, sent) + apart END,  -- no outcome: the publisher did not live to tell
  status IS NULL OR status IN (0, 2, 3),  -- Redis replied; or no reply in time; or the connection broke after it was sent
  status IS NULL OR status IN (2, 3),
  status IS 1,
  intended >= zero
FROM run CROSS JOIN told JOIN stream ON stream.stream = told.stream
WHERE seq >= 1;  -- numbers begin at 1
