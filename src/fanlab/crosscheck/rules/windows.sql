-- What each client was owed of each channel, and from when to when.

-- A client's life: its events in order, numbered; what comes after it has left is not its own any more.
-- `link` numbers its connections: it rises when one opens and when one closes.
CREATE TABLE life AS
WITH
  story AS (
    SELECT event.client, t, name, channel, own, ROW_NUMBER() OVER (PARTITION BY event.client ORDER BY t, id) AS step
    FROM event JOIN client ON client.client = event.client
  ),
  leaving AS (SELECT client, MIN(step) AS step FROM story WHERE name = 'left' GROUP BY client)
SELECT story.*, SUM(name IN ('open', 'closed')) OVER (PARTITION BY story.client ORDER BY story.step) AS link
FROM story LEFT JOIN leaving USING (client)
WHERE leaving.step IS NULL OR story.step <= leaving.step;

-- How its life ended. A connection is known to be open by its opening and by whatever is asked or confirmed over it.
-- The connection that it had at the end is the one that is open then, or the last one if the client itself closed it.
CREATE TABLE ending AS
WITH
  last_of_link AS (
    SELECT client, t, name, own, link, ROW_NUMBER() OVER (PARTITION BY client ORDER BY step DESC) AS back
    FROM life WHERE name <> 'left'
  ),
  last_open AS (
    SELECT client, t, name, ROW_NUMBER() OVER (PARTITION BY client ORDER BY step DESC) AS back
    FROM life WHERE name IN ('open', 'subscribing', 'subscribed', 'closed')
  ),
  departure AS (SELECT client, t FROM life WHERE name = 'left')
SELECT client.client,
  COALESCE(departure.t, never) AS left_at,
  CASE WHEN last_open.name = 'closed' THEN last_open.t ELSE never END AS closed_at,
  CASE
    WHEN last_of_link.name IN ('open', 'subscribing', 'subscribed') THEN last_of_link.link
    WHEN last_of_link.name = 'closed' AND last_of_link.own THEN last_of_link.link - 1
  END AS kept_link
FROM run CROSS JOIN client
  LEFT JOIN departure USING (client)
  LEFT JOIN last_open ON last_open.client = client.client AND last_open.back = 1
  LEFT JOIN last_of_link ON last_of_link.client = client.client AND last_of_link.back = 1;

-- By client and channel: when it first asked, when it first was told yes, when what it is owed fades and ends, and when
-- it asked for the channel over the connection that it had at the end.
CREATE TABLE entitlement AS
WITH
  asked AS (
    SELECT life.client, channel, MIN(t) AS ask,
      MIN(CASE WHEN name = 'subscribed' THEN t END) AS confirm,
      MIN(CASE WHEN link = kept_link THEN t END) AS held
    FROM life JOIN ending USING (client)
    WHERE name IN ('subscribing', 'subscribed')
    GROUP BY life.client, channel
  ),
  bounded AS (
    -- what it asked for in vain can have held no longer than its connections did
    SELECT asked.*, CASE WHEN confirm IS NULL THEN MIN(left_at, closed_at) ELSE left_at END AS gone
    FROM asked JOIN ending USING (client)
  )
SELECT client, channel, ask, COALESCE(confirm, never) AS confirm,
  -- who leaves in mid-run may leave messages behind that were on their way; who leaves later was waited for
  CASE WHEN gone < publish_end THEN gone - quiet ELSE gone END AS fade,
  gone, COALESCE(held, never) AS held
FROM run CROSS JOIN bounded;

-- The same by stream, with the time up to which the client's journal is known to be whole.
CREATE TABLE promise (
  client INTEGER, stream INTEGER, ask INTEGER, confirm INTEGER, fade INTEGER, gone INTEGER, held INTEGER, horizon INTEGER,
  PRIMARY KEY (client, stream)
) WITHOUT ROWID;

INSERT INTO promise
WITH torn AS (
  SELECT client, MIN(heartbeat) AS horizon FROM event JOIN stripe USING (stripe) WHERE NOT closed GROUP BY client
)
SELECT entitlement.client, stream, ask, confirm, fade, gone, held, COALESCE(horizon, never)
FROM run CROSS JOIN entitlement JOIN stream USING (channel) LEFT JOIN torn ON torn.client = entitlement.client;
