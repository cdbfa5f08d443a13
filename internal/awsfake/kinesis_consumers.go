package awsfake

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const maxConsumers = 20

// streamConsumer is a registered consumer of enhanced fan-out.
type streamConsumer struct {
	name    string
	arn     string
	created time.Time
	active  time.Time // when CREATING is over
}

func (sc *streamConsumer) describe(now time.Time) object {
	status := statusActive
	if now.Before(sc.active) {
		status = statusCreating
	}
	return object{
		{"ConsumerName", sc.name}, {"ConsumerARN", sc.arn}, {"ConsumerStatus", status}, {"ConsumerCreationTimestamp", sc.created},
	}
}

func (st *dataStream) consumer(name string) *streamConsumer {
	i := slices.IndexFunc(st.consumers, func(sc *streamConsumer) bool { return sc.name == name })
	if i < 0 {
		return nil
	}
	return st.consumers[i]
}

func (k *Kinesis) registerStreamConsumer(c *call) (any, error) {
	var in struct {
		StreamARN    string
		ConsumerName string
	}
	return k.byResource(c, &in, &in.StreamARN, func(st *dataStream) (any, error) {
		switch {
		case in.ConsumerName == "":
			return nil, failure("ValidationException", "ConsumerName is missing")
		case st.consumer(in.ConsumerName) != nil:
			return nil, failure("ResourceInUseException", "Consumer %s of stream %s already exists.", in.ConsumerName, st.name)
		case len(st.consumers) >= maxConsumers:
			return nil, failure("LimitExceededException", "Stream %s has %d consumers already.", st.name, maxConsumers)
		}
		sc := &streamConsumer{
			name: in.ConsumerName, created: c.now, active: c.now.Add(k.server.cfg.ConsumerDelay),
			arn: fmt.Sprintf("%s/consumer/%s:%d", st.arn, in.ConsumerName, c.now.Unix()),
		}
		st.consumers = append(st.consumers, sc)
		answer := sc.describe(c.now)
		answer[2].value = statusCreating // AWS always answers so, however fast it then is
		return object{{"Consumer", answer}}, nil
	})
}

// consumerRef is how a request names a consumer: by its ARN, or by its stream and name.
type consumerRef struct {
	StreamARN    string
	ConsumerName string
	ConsumerARN  string
}

// withConsumer decodes the request and runs use on the locked stream.
func (k *Kinesis) withConsumer(c *call, use func(*dataStream, *streamConsumer) (any, error)) (any, error) {
	var in consumerRef
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	arn, name := in.StreamARN, in.ConsumerName
	if in.ConsumerARN != "" {
		stream, rest, ok := strings.Cut(in.ConsumerARN, "/consumer/")
		if !ok {
			return nil, failure("InvalidArgumentException", "%q is not the ARN of a consumer", in.ConsumerARN)
		}
		arn = stream
		name, _, _ = strings.Cut(rest, ":")
	}
	if arn == "" || name == "" {
		return nil, failure("InvalidArgumentException", "Either ConsumerARN, or StreamARN and ConsumerName must be provided.")
	}
	st, err := k.lock(streamRef{StreamARN: arn}, c.now)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	sc := st.consumer(name)
	if sc == nil || in.ConsumerARN != "" && in.ConsumerARN != sc.arn {
		return nil, failure("ResourceNotFoundException", "Consumer %s of stream %s under account %s not found.", name, st.name, k.server.cfg.Account)
	}
	return use(st, sc)
}

func (k *Kinesis) describeStreamConsumer(c *call) (any, error) {
	return k.withConsumer(c, func(st *dataStream, sc *streamConsumer) (any, error) {
		return object{{"ConsumerDescription", append(sc.describe(c.now), member{"StreamARN", st.arn})}}, nil
	})
}

func (k *Kinesis) deregisterStreamConsumer(c *call) (any, error) {
	return k.withConsumer(c, func(st *dataStream, sc *streamConsumer) (any, error) {
		st.consumers = slices.DeleteFunc(st.consumers, func(o *streamConsumer) bool { return o == sc })
		st.wake()
		return object{}, nil
	})
}

func (k *Kinesis) listStreamConsumers(c *call) (any, error) {
	var in struct {
		StreamARN  string
		NextToken  string
		MaxResults *int
	}
	return k.byResource(c, &in, &in.StreamARN, func(st *dataStream) (any, error) {
		limit, err := parsePage(in.MaxResults, 100, 100, "maxResults")
		if err != nil {
			return nil, err
		}
		sorted := slices.SortedFunc(slices.Values(st.consumers), func(a, b *streamConsumer) int { return strings.Compare(a.name, b.name) })
		consumers := list{}
		var next any
		for _, sc := range sorted {
			if sc.name <= in.NextToken {
				continue
			}
			if len(consumers) == limit {
				next = consumers[limit-1].(object)[0].value
				break
			}
			consumers = append(consumers, sc.describe(c.now))
		}
		return object{{"Consumers", consumers}, {"NextToken", next}}, nil
	})
}
