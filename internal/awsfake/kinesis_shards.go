package awsfake

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

const tokenLife = 300 * time.Second

// shardFilter is the ShardFilter of ListShards.
type shardFilter struct {
	Type      string
	ShardId   string //nolint:revive // AWS's name
	Timestamp timestamp
}

// shardToken is what a NextToken of ListShards stands for.
type shardToken struct {
	Stream  string
	Created int64
	After   string
	Filter  string
	At      int64
	Issued  int64
}

func (t shardToken) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("BUG: a page token has no JSON form: " + err.Error())
	}
	return base64.URLEncoding.EncodeToString(b)
}

func parseShardToken(s string) (t shardToken, err error) {
	b, err := base64.URLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.Stream == "" {
		return t, failure("InvalidArgumentException", "NextToken is not one that ListShards gave out")
	}
	return t, nil
}

func (k *Kinesis) listShards(c *call) (any, error) {
	var in struct {
		streamRef
		ExclusiveStartShardId   string //nolint:revive // AWS's name
		MaxResults              *int
		NextToken               string
		ShardFilter             *shardFilter
		StreamCreationTimestamp timestamp
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	limit, err := parsePage(in.MaxResults, 1000, 10_000, "maxResults")
	if err != nil {
		return nil, err
	}
	limit = min(limit, 1000)
	token := shardToken{Stream: in.StreamName, After: in.ExclusiveStartShardId}
	if in.NextToken != "" {
		if in.StreamName != "" || in.ExclusiveStartShardId != "" || !in.StreamCreationTimestamp.IsZero() {
			return nil, failure("InvalidArgumentException", "NextToken and StreamName cannot be provided together.")
		}
		if token, err = parseShardToken(in.NextToken); err != nil {
			return nil, err
		}
		if c.now.Sub(time.UnixMilli(token.Issued)) > tokenLife {
			return nil, failure("ExpiredNextTokenException", "The NextToken was issued more than %s ago.", tokenLife)
		}
		in.streamRef = streamRef{StreamName: token.Stream}
	} else if in.ShardFilter != nil {
		if err := token.setFilter(in.ShardFilter); err != nil {
			return nil, err
		}
	}
	st, err := k.lock(in.streamRef, c.now)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	if st.status != statusActive && st.status != statusUpdating {
		return nil, failure("ResourceInUseException", "Stream %s under account %s not ACTIVE or UPDATING, instead in state %s", st.name, k.server.cfg.Account, st.status)
	}
	if in.NextToken != "" && token.Created != st.created.UnixMilli() ||
		!in.StreamCreationTimestamp.IsZero() && in.StreamCreationTimestamp.Unix() != st.created.Unix() {
		return nil, k.notFound(st.name)
	}
	shards := list{}
	var next any
	for _, sh := range st.shards {
		if sh.id <= token.After || !token.matches(st, sh, c.now) {
			continue
		}
		if len(shards) == limit {
			token.Stream, token.Created, token.Issued = st.name, st.created.UnixMilli(), c.now.UnixMilli()
			token.After, _ = shards[limit-1].(object)[0].value.(string)
			next = token.String()
			break
		}
		shards = append(shards, sh.describe())
	}
	return object{{"Shards", shards}, {"NextToken", next}}, nil
}

func (t *shardToken) setFilter(f *shardFilter) error {
	t.Filter = f.Type
	switch f.Type {
	case "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST":
	case "AT_TIMESTAMP", "FROM_TIMESTAMP":
		if f.Timestamp.IsZero() {
			return failure("InvalidArgumentException", "ShardFilter of type %s needs Timestamp.", f.Type)
		}
		t.At = f.Timestamp.UnixMilli()
	case "AFTER_SHARD_ID":
		if f.ShardId == "" {
			return failure("InvalidArgumentException", "ShardFilter of type AFTER_SHARD_ID needs ShardId.")
		}
		t.After = max(t.After, f.ShardId)
	default:
		return failure("ValidationException", "ShardFilter type %q is none of AFTER_SHARD_ID, AT_TRIM_HORIZON, FROM_TRIM_HORIZON, AT_LATEST, AT_TIMESTAMP, FROM_TIMESTAMP", f.Type)
	}
	return nil
}

// matches says whether the filter lets the shard through. Times are compared by milliseconds, as the wire has them. Where
// a reshard falls into the very millisecond asked for, the parents are the shards open at it: they may hold its records.
func (t *shardToken) matches(st *dataStream, sh *shard, now time.Time) bool {
	created, closed := sh.created.UnixMilli(), sh.closed.UnixMilli()
	switch t.Filter {
	case "AT_LATEST":
		return sh.open()
	case "AT_TIMESTAMP":
		// Before the stream's or the retention's beginning there is only the horizon.
		if t.At > max(now.Add(-st.retention).UnixMilli(), st.opened.UnixMilli()) {
			return created < t.At && (sh.open() || closed >= t.At)
		}
		fallthrough
	case "AT_TRIM_HORIZON":
		// What was open at the horizon is what has no parent left.
		return (sh.parent == "" || st.shard(sh.parent) == nil) && (sh.adjacent == "" || st.shard(sh.adjacent) == nil)
	case "FROM_TIMESTAMP":
		return sh.open() || closed >= t.At
	default:
		return true
	}
}
