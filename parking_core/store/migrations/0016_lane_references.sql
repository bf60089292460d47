-- Records that are about another record: the hourly look for those that meet none reads only these.

CREATE INDEX lane_events_references ON lane_events (received_at) WHERE event IN ('completion', 'correction');
