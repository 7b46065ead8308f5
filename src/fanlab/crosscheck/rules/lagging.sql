-- Who asked while its node was behind. What a client got of a publish that was over before it asked is due to it, if its node
-- handed out that message to clients that had asked in time, and to none of them before it asked.

CREATE TABLE early AS
SELECT DISTINCT delivery.client, delivery.stream, delivery.seq, node, ask, done
FROM promise
  JOIN delivery ON delivery.client = promise.client AND delivery.stream = promise.stream
  JOIN message ON message.stream = delivery.stream AND message.seq = delivery.seq
WHERE exists_maybe AND done < ask AND sent <= gone;

CREATE TABLE backlog (client INTEGER, stream INTEGER, since INTEGER, PRIMARY KEY (client, stream)) WITHOUT ROWID;

INSERT INTO backlog
WITH
  wanted AS (SELECT DISTINCT node, stream, seq FROM early),
  handed_out AS (
    SELECT wanted.node, wanted.stream, wanted.seq, MIN(recv) AS first
    FROM wanted
      JOIN delivery ON delivery.node = wanted.node AND delivery.stream = wanted.stream AND delivery.seq = wanted.seq
      JOIN message ON message.stream = wanted.stream AND message.seq = wanted.seq
      JOIN promise ON promise.client = delivery.client AND promise.stream = delivery.stream
    WHERE done >= ask AND sent <= gone
    GROUP BY wanted.node, wanted.stream, wanted.seq
  )
SELECT client, early.stream, MIN(done)
FROM early JOIN handed_out ON handed_out.node = early.node AND handed_out.stream = early.stream AND handed_out.seq = early.seq
WHERE first >= ask
GROUP BY client, early.stream;

-- It is owed from the earliest of these on.
UPDATE promise
SET ask = (SELECT since FROM backlog WHERE backlog.client = promise.client AND backlog.stream = promise.stream)
WHERE EXISTS (SELECT 1 FROM backlog WHERE backlog.client = promise.client AND backlog.stream = promise.stream);
