package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func producer(o options) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[o.codec]
	if !ok {
		return nil, fmt.Errorf("-codec %q is unknown", o.codec)
	}
	return kgo.NewClient(
		kgo.SeedBrokers(o.kafka), kgo.DefaultProduceTopic(topicName), kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(10*time.Millisecond), kgo.ProducerBatchMaxBytes(900_000),
		kgo.MaxBufferedRecords(100_000), kgo.RequiredAcks(kgo.AllISRAcks()),
	)
}

// emitter collects the rows of one payload and produces them keyed, or throws them away when there is no client. Produced
// buffers go to the garbage collector: the client holds them until their promise ran.
type emitter struct {
	client *kgo.Client
	ack    func(n, size int64)
	buf    []byte
	ends   []int
	keys   []uint64
}

func newEmitter(client *kgo.Client, ack func(n, size int64)) *emitter {
	return &emitter{client: client, ack: ack}
}

func (e *emitter) emit(key uint64, row []byte) {
	e.buf = append(e.buf, row...)
	e.ends = append(e.ends, len(e.buf))
	e.keys = append(e.keys, key)
}

func (e *emitter) flush(ctx context.Context) {
	if e.client == nil {
		e.ack(int64(len(e.ends)), int64(len(e.buf)))
		e.buf, e.ends, e.keys = e.buf[:0], e.ends[:0], e.keys[:0]
		return
	}
	records := make([]kgo.Record, len(e.ends))
	keys := make([]byte, 8*len(e.ends))
	promise := func(r *kgo.Record, err error) {
		if err == nil {
			e.ack(1, int64(len(r.Value)))
		}
	}
	start := 0
	for i, end := range e.ends {
		key := keys[8*i : 8*i+8]
		binary.LittleEndian.PutUint64(key, e.keys[i])
		records[i] = kgo.Record{Key: key, Value: e.buf[start:end:end]}
		e.client.Produce(ctx, &records[i], promise)
		start = end
	}
	e.buf = make([]byte, 0, cap(e.buf))
	e.ends, e.keys = e.ends[:0], e.keys[:0]
}
