//go:build chaoscontrol

package main

import (
	"context"

	"dredge/stream"
)

// processor makes p wrong: it reports everything as durable before it is handed on, so that checkpoints run ahead of delivery. It is
// the negative control of test/chaos, which must report what such a build loses. No released binary has this tag.
func processor(p stream.Processor) stream.Processor { return hasty{p} }

type hasty struct{ stream.Processor }

// Open implements stream.Processor.
func (p hasty) Open(ctx context.Context, partition string) (stream.Handler, stream.Position, error) {
	h, at, err := p.Processor.Open(ctx, partition)
	if err != nil {
		return nil, at, err
	}
	return hastyHandler{h}, at, nil
}

type hastyHandler struct{ stream.Handler }

// Handle implements stream.Handler.
func (h hastyHandler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	progress(c.Last, nil)
	return h.Handler.Handle(ctx, c, func(stream.Position, error) {})
}
