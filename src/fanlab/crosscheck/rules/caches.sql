-- The nodes' caches. An update is a message of a publisher with objects, which it updates in turn: its entry is (stream,
-- object), and its version its number. All of it is by node.

CREATE TABLE novelty AS
SELECT stream, seq, (seq - 1) % objects AS object, done, measured, failed, doubtful, exists_maybe AND NOT doubtful AS certain
FROM message JOIN cached USING (stream)
WHERE exists_maybe OR failed;
CREATE UNIQUE INDEX novelty_number ON novelty (stream, seq);
CREATE INDEX novelty_entry ON novelty (stream, object, seq);

-- What readers were answered: 0 a version, 1 that nothing is held, 2 nothing that tells, as a version that nobody published.
CREATE TABLE reply AS
SELECT read.id, node, read.stream, read.object, read.seq, asked, answered, sweep,
  CASE WHEN status = 0 AND novelty.seq IS NULL THEN 2 ELSE status END AS status
FROM read LEFT JOIN novelty ON novelty.stream = read.stream AND novelty.seq = read.seq;

-- When a cache took an update: as its journal says, or else when a reader first saw it.
CREATE TABLE taken AS
SELECT node, stream, seq, COALESCE(MIN(told), MIN(seen)) AS t
FROM (
  SELECT node, stream, seq, t AS told, NULL AS seen FROM take JOIN novelty USING (stream, seq)
  UNION ALL SELECT node, stream, seq, NULL, answered FROM reply WHERE status = 0
)
GROUP BY node, stream, seq;
CREATE UNIQUE INDEX taken_number ON taken (node, stream, seq);

CREATE TABLE cache AS
SELECT node,
  (SELECT MAX(t) FROM take JOIN novelty USING (stream, seq) WHERE take.node = caching.node) AS last_take,
  (SELECT MAX(t) FROM life_of WHERE life_of.node = caching.node) AS emptied,
  (SELECT COUNT(*) + TOTAL(ends) > 1 FROM life_of WHERE life_of.node = caching.node) AS forgot,
  EXISTS (SELECT 1 FROM life_of WHERE life_of.node = caching.node AND ends AND NOT mended)
    AND NOT EXISTS (SELECT 1 FROM reply WHERE reply.node = caching.node AND sweep AND status < 2) AS gone
FROM caching;

-- What an entry holds at the end: by the sweep, else by the journal, if that is whole. NULL: nobody knows; 0: nothing.
CREATE TABLE entry AS
WITH
  swept AS (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY node, stream, object ORDER BY id DESC) AS back
    FROM reply WHERE sweep AND status < 2
  ),
  kept AS (
    SELECT node, stream, object, seq,
      ROW_NUMBER() OVER (PARTITION BY node, stream, object ORDER BY t DESC, take.id DESC) AS back
    FROM take JOIN novelty USING (stream, seq) JOIN cache USING (node)
    WHERE t > COALESCE(emptied, 0)
  ),
  known AS (SELECT stream, object, MAX(CASE WHEN certain THEN seq END) AS newest FROM novelty GROUP BY stream, object)
SELECT cache.node, known.stream, known.object, newest, gone, forgot, last_take,
  COALESCE(swept.seq, CASE WHEN last_take IS NOT NULL AND NOT cut THEN COALESCE(kept.seq, 0) END) AS held
FROM run CROSS JOIN cache CROSS JOIN known
  LEFT JOIN swept ON swept.back = 1 AND swept.node = cache.node AND swept.stream = known.stream AND swept.object = known.object
  LEFT JOIN kept ON kept.back = 1 AND kept.node = cache.node AND kept.stream = known.stream AND kept.object = known.object;

-- What was not taken was missed, if anybody can know: by a journal that goes on, or because an older version is held.
CREATE TABLE refresh AS
SELECT entry.node, novelty.stream, novelty.seq, measured, taken.t,
  CASE
    WHEN taken.t IS NOT NULL THEN 'refreshed'
    WHEN last_take IS NOT NULL THEN CASE WHEN doubtful OR (cut AND done >= last_take) THEN 'indeterminate' ELSE 'missed' END
    WHEN failed OR (held IS NOT NULL AND novelty.seq > held AND (held > 0 OR NOT forgot) AND NOT doubtful) THEN 'missed'
    ELSE 'indeterminate'
  END AS state
FROM run CROSS JOIN entry
  JOIN novelty ON novelty.stream = entry.stream AND novelty.object = entry.object
  LEFT JOIN taken ON taken.node = entry.node AND taken.stream = novelty.stream AND taken.seq = novelty.seq;
CREATE UNIQUE INDEX refresh_number ON refresh (node, stream, seq);

-- A read is stale if a newer version was certain before it was asked for; `next` is the oldest of all newer ones.
CREATE TABLE outdated AS
SELECT reply.node, reply.stream, asked,
  (SELECT MIN(seq) FROM novelty AS one
   WHERE one.stream = reply.stream AND one.object = reply.object AND certain AND one.seq > reply.seq) AS next
FROM run CROSS JOIN reply
WHERE status = 0 AND NOT sweep AND asked >= zero AND EXISTS (
  SELECT 1 FROM novelty AS one
  WHERE one.stream = reply.stream AND one.object = reply.object AND certain AND one.seq > reply.seq AND done < asked
);

CREATE VIEW cache_term AS
SELECT node, 'owed' AS term, COUNT(*) AS count FROM refresh WHERE measured GROUP BY node
UNION ALL SELECT node, state, COUNT(*) FROM refresh WHERE measured GROUP BY node, state
UNION ALL SELECT node, CASE held WHEN 0 THEN 'empty_at_end' ELSE 'wrong_for_good' END, COUNT(*)
  FROM entry WHERE NOT gone AND held < newest GROUP BY node, held = 0
UNION ALL SELECT node, 'reads', COUNT(*) FROM run CROSS JOIN reply WHERE NOT sweep AND asked >= zero GROUP BY node
UNION ALL SELECT node, CASE status WHEN 1 THEN 'reads_missing' ELSE 'reads_failed' END, COUNT(*)
  FROM run CROSS JOIN reply WHERE NOT sweep AND asked >= zero AND status > 0 GROUP BY node, status
UNION ALL SELECT node, 'stale_reads', COUNT(*) FROM outdated GROUP BY node
UNION ALL SELECT outdated.node, CASE state WHEN 'missed' THEN 'stale_reads_lost' ELSE 'stale_reads_withheld' END, COUNT(*)
  FROM outdated JOIN refresh ON refresh.node = outdated.node AND refresh.stream = outdated.stream AND refresh.seq = next
  WHERE state = 'missed' OR t <= asked GROUP BY outdated.node, state = 'missed';
