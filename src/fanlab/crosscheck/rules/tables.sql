-- What the journals say, as they say it. All times are nanoseconds of one monotonic clock, as well as hosts can keep it.

CREATE TABLE run (
  zero INTEGER,         -- time 0: what was meant to be sent from here on is measured, what was before is warm-up
  publish_end INTEGER,
  quiet INTEGER,        -- how long before it leaves in mid-run a client's messages may still be on their way to it
  cut INTEGER,          -- 1: the evidence ends before the last message was waited for
  never INTEGER,        -- later than any time of a run
  apart INTEGER         -- by how much a publisher's clock may differ from anybody else's
);
CREATE TABLE stream (stream INTEGER PRIMARY KEY, publisher TEXT, channel TEXT);
CREATE TABLE client (client INTEGER PRIMARY KEY, team TEXT);
CREATE TABLE node (node INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE stripe (
  stripe INTEGER PRIMARY KEY, closed INTEGER, heartbeat INTEGER,
  last_before INTEGER, last INTEGER  -- its deliveries are those after `last_before`, up to `last`
);

-- `id` rises in the order of reading: stripe by stripe by name, each from its beginning. It decides where times tie.
CREATE TABLE event (id INTEGER PRIMARY KEY, stripe INTEGER, t INTEGER, client INTEGER, name TEXT, channel TEXT, own INTEGER);
CREATE TABLE intent (id INTEGER PRIMARY KEY, intended INTEGER, seq INTEGER, stream INTEGER);
CREATE TABLE outcome (
  id INTEGER PRIMARY KEY, sent INTEGER, done INTEGER, seq INTEGER, stream INTEGER, status INTEGER, receivers INTEGER
);
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY, recv INTEGER, intended INTEGER, seq INTEGER, client INTEGER, stream INTEGER, node INTEGER, lag_us INTEGER
);
-- What Redis sent to fanlab's own subscriber, in Redis' own order.
CREATE TABLE heard (id INTEGER PRIMARY KEY, recv INTEGER, intended INTEGER, seq INTEGER, stream INTEGER);

-- Caches: who has one, of which publishers' objects, what readers were answered, what nodes say that theirs took, and when
-- each began or ended; `mended`: it was seen back.
CREATE TABLE caching (node INTEGER PRIMARY KEY);
CREATE TABLE cached (stream INTEGER PRIMARY KEY, objects INTEGER);
CREATE TABLE read (
  id INTEGER PRIMARY KEY, intended INTEGER, asked INTEGER, answered INTEGER, seq INTEGER, object INTEGER, stream INTEGER,
  node INTEGER, status INTEGER, sweep INTEGER
);
CREATE TABLE take (id INTEGER PRIMARY KEY, node INTEGER, t INTEGER, stream INTEGER, seq INTEGER);
CREATE TABLE asked_of (t INTEGER, node INTEGER);  -- a client asked it for a channel
CREATE TABLE life_of (node INTEGER, t INTEGER, ends INTEGER, mended INTEGER);

-- Copies with other bytes than those published. `stream` and `seq` as the token has them, or NULL if it is damaged itself.
CREATE TABLE damage (
  id INTEGER PRIMARY KEY, stripe INTEGER, t INTEGER, client INTEGER, node INTEGER, stream INTEGER, seq INTEGER
);
-- What a damaged token may have been: all that is a single byte away from it.
CREATE TABLE guess (damage INTEGER, stream INTEGER, seq INTEGER, intended INTEGER);
