-- Redis gives all its subscribers one order, over all channels. Who had messages of two streams in another disagrees with it.

-- A lane is one client through one node; nodes that the plan lacks count as one.
CREATE TABLE lane AS
SELECT copy.client, COALESCE(node.node, 1 << 16) AS node, copy.stream, copy.seq, copy.recv, copy.id, n
FROM copy
  JOIN client ON client.client = copy.client
  JOIN message ON message.stream = copy.stream AND message.seq = copy.seq
  LEFT JOIN node ON node.node = copy.node;

-- The order that all are held against: the witness's, by its first copies; where it had none, that of the lane with the most
-- messages, of several the one with the lowest numbers.
CREATE TABLE place (stream INTEGER, seq INTEGER, place INTEGER, PRIMARY KEY (stream, seq)) WITHOUT ROWID;

INSERT INTO place
SELECT heard.stream, heard.seq, MIN(id)
FROM heard JOIN message ON message.stream = heard.stream AND message.seq = heard.seq
GROUP BY heard.stream, heard.seq;

INSERT INTO place
WITH
  busiest AS (
    SELECT client, node FROM lane WHERE n = 1 GROUP BY client, node ORDER BY COUNT(*) DESC, client, node LIMIT 1
  ),
  in_turn AS (
    SELECT stream, seq, ROW_NUMBER() OVER (ORDER BY recv, id) AS turn FROM lane JOIN busiest USING (client, node)
  )
SELECT stream, seq, MIN(turn) FROM in_turn WHERE NOT EXISTS (SELECT 1 FROM place) GROUP BY stream, seq;

-- First copies that were owed, not reordered in their own stream, and came after a message with a later place.
CREATE TABLE behind AS
SELECT turn.client, turn.node, turn.stream, turn.seq, turn.recv, turn.id, place, high, got.measured
FROM (
  SELECT lane.*, place, MAX(place) OVER (
    PARTITION BY client, node ORDER BY recv, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS high
  FROM lane JOIN place ON place.stream = lane.stream AND place.seq = lane.seq
) AS turn
  JOIN got ON got.client = turn.client AND got.stream = turn.stream AND got.seq = turn.seq AND got.id = turn.id
WHERE high > place AND got.seq > COALESCE(top, 0);

-- The later message must be one of another stream. Nearly always the latest one is; only where it is not, every
-- message that the lane had before is looked at.
CREATE TABLE disagreement (client INTEGER, stream INTEGER, seq INTEGER, recv INTEGER, measured INTEGER, id INTEGER PRIMARY KEY);

CREATE TABLE at_place AS SELECT place, stream FROM place;
CREATE UNIQUE INDEX by_place ON at_place (place);

INSERT INTO disagreement
SELECT behind.client, behind.stream, behind.seq, behind.recv, behind.measured, behind.id
FROM behind JOIN at_place ON at_place.place = behind.high
WHERE at_place.stream <> behind.stream;

CREATE TABLE unclear AS
SELECT behind.* FROM behind JOIN at_place ON at_place.place = behind.high WHERE at_place.stream = behind.stream;

CREATE TABLE before AS
SELECT lane.*, place
FROM lane JOIN place ON place.stream = lane.stream AND place.seq = lane.seq
WHERE (lane.client, lane.node) IN (SELECT client, node FROM unclear);
CREATE INDEX by_lane ON before (client, node, recv, id, stream, place);

INSERT INTO disagreement
SELECT client, stream, seq, recv, measured, id
FROM unclear
WHERE EXISTS (
  SELECT 1 FROM before
  WHERE before.client = unclear.client AND before.node = unclear.node
    AND (before.recv, before.id) < (unclear.recv, unclear.id)
    AND before.stream <> unclear.stream AND before.place > unclear.place
);
