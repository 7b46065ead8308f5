-- What was owed, and what became of it. A failed publish was owed, too: it is the system that failed.

CREATE TABLE debt (measured INTEGER, owed INTEGER);

INSERT INTO debt
SELECT measured, COUNT(*)
FROM promise JOIN message ON message.stream = promise.stream
WHERE (exists_maybe OR failed) AND done >= ask AND sent <= gone
GROUP BY measured;

-- What did not come is lost if the whole publish lies within what was surely owed. Otherwise nobody can tell: it overlaps an
-- edge, or nobody knows whether it was published, or it may have been on its way when the evidence ended.
CREATE TABLE missing AS
WITH last AS (SELECT client, stream, MAX(seq) AS seq FROM got GROUP BY client, stream)
SELECT promise.client, promise.stream, message.seq, message.measured, message.intended, told_sent AS sent,
  message.sent > confirm AND done < fade AND NOT doubtful
    AND NOT (cut AND message.seq > COALESCE(last.seq, 0) AND (done >= horizon OR done >= held)) AS lost
FROM run CROSS JOIN promise
  JOIN message ON message.stream = promise.stream
  LEFT JOIN last ON last.client = promise.client AND last.stream = promise.stream
  LEFT JOIN got ON got.client = promise.client AND got.stream = promise.stream AND got.seq = message.seq
WHERE (exists_maybe OR failed) AND done >= ask AND sent <= gone AND got.seq IS NULL;
