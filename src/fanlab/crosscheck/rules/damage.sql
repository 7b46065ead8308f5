-- Copies that came with other bytes than those published. Which message was it? If that can be told, it has arrived.

-- What may have come to whom, and since when.
CREATE VIEW possible AS
SELECT client, message.stream, seq, intended, sent
FROM promise JOIN message ON message.stream = promise.stream
WHERE exists_maybe AND done >= ask AND sent <= gone;

-- 1. Its token, with one byte changed back: the only message that it can have been.
CREATE TABLE named (id INTEGER PRIMARY KEY, stream INTEGER, seq INTEGER);
INSERT INTO named
SELECT id, MIN(stream), MIN(seq)
FROM (
  SELECT DISTINCT damage.id, guess.stream, guess.seq
  FROM damage
    JOIN guess ON guess.damage = damage.id
    JOIN possible ON possible.client = damage.client AND possible.stream = guess.stream AND possible.seq = guess.seq
  WHERE possible.intended = guess.intended AND sent <= damage.t
)
GROUP BY id
HAVING COUNT(*) = 1;

-- 2. Its neighbours: of one stream, the message before came last before it and the message after first after it, both
-- through its node, and the one between them came nowhere else. One stream alone says so, and no other copy claims the same.
CREATE TABLE unread AS SELECT * FROM damage WHERE stream IS NULL AND id NOT IN (SELECT id FROM named);

CREATE TABLE near AS
SELECT client, stream, recv, seq, node
FROM delivery
WHERE EXISTS (SELECT 1 FROM unread) AND client IN (SELECT client FROM unread)
  AND (stream, seq) IN (SELECT stream, seq FROM message)
UNION ALL
SELECT damage.client, named.stream, t, named.seq, node FROM damage JOIN named USING (id);
CREATE INDEX in_time ON near (client, stream, recv, seq, node);
CREATE INDEX in_number ON near (client, stream, seq);

CREATE TABLE by_neighbours AS
WITH
  place AS (
    SELECT unread.*, promise.stream AS of,
      (SELECT near.seq FROM near WHERE near.client = unread.client AND near.stream = promise.stream AND recv < t
       ORDER BY recv DESC, near.seq DESC, near.node DESC LIMIT 1) AS low,
      (SELECT near.node FROM near WHERE near.client = unread.client AND near.stream = promise.stream AND recv < t
       ORDER BY recv DESC, near.seq DESC, near.node DESC LIMIT 1) AS low_node,
      (SELECT near.seq FROM near WHERE near.client = unread.client AND near.stream = promise.stream AND recv >= t
       ORDER BY recv, near.seq, near.node LIMIT 1) AS high,
      (SELECT near.node FROM near WHERE near.client = unread.client AND near.stream = promise.stream AND recv >= t
       ORDER BY recv, near.seq, near.node LIMIT 1) AS high_node
    FROM unread JOIN promise ON promise.client = unread.client
  )
SELECT place.id, place.client, of AS stream, low + 1 AS seq
FROM place
  JOIN possible ON possible.client = place.client AND possible.stream = of AND possible.seq = low + 1
WHERE high = low + 2 AND low_node = place.node AND high_node = place.node AND sent <= t
  AND NOT EXISTS (SELECT 1 FROM near WHERE near.client = place.client AND near.stream = of AND near.seq = low + 1);

INSERT INTO named
SELECT id, stream, seq
FROM (
  SELECT *, COUNT(*) OVER (PARTITION BY client, stream, seq) AS claims
  FROM by_neighbours
  WHERE id IN (SELECT id FROM by_neighbours GROUP BY id HAVING COUNT(*) = 1)
)
WHERE claims = 1;

-- What each damaged copy counts as. One that nobody can name has no number, and no stream that there is.
CREATE TABLE corruption AS
SELECT damage.id, damage.client, damage.node, damage.t AS recv,
  COALESCE(damage.stream, named.stream, 65535) AS stream, COALESCE(damage.seq, named.seq, 0) AS seq,
  COALESCE(message.intended, damage.t) AS intended,
  COALESCE(message.intended, damage.t) >= zero AS measured,
  named.id IS NOT NULL AS mended
FROM run CROSS JOIN damage
  LEFT JOIN named USING (id)
  LEFT JOIN message
    ON message.stream = COALESCE(damage.stream, named.stream) AND message.seq = COALESCE(damage.seq, named.seq);
CREATE INDEX of_copy ON corruption (client, stream, seq, recv);

-- 3. The mended ones among the others of their stripe. They came when they came; of several messages at one instant, which
-- were in one frame, one stands before the later ones of its stream, else after all. There is room between the numbers.
CREATE TABLE arrival (
  id INTEGER PRIMARY KEY, recv INTEGER, intended INTEGER, seq INTEGER, client INTEGER, stream INTEGER, node INTEGER, lag_us INTEGER
);
INSERT INTO arrival
WITH
  mended AS (SELECT corruption.*, damage.stripe FROM corruption JOIN damage USING (id) WHERE mended),
  later AS (
    SELECT mended.id, MIN(delivery.id) AS before
    FROM delivery JOIN mended
      ON mended.client = delivery.client AND mended.stream = delivery.stream AND mended.recv = delivery.recv
      AND delivery.seq > mended.seq
    JOIN stripe ON stripe.stripe = mended.stripe AND delivery.id > stripe.last_before AND delivery.id <= stripe.last
    WHERE EXISTS (SELECT 1 FROM mended)
    GROUP BY mended.id
  )
SELECT
  COALESCE(before * (1 << 28) - (1 << 27), last * (1 << 28)) + ROW_NUMBER() OVER (ORDER BY recv, seq, id),
  recv, intended, seq, client, stream, node, 0
FROM mended LEFT JOIN later USING (id) JOIN stripe USING (stripe);
