package file

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	files, failed, bytes, payloads, cut, rewinds prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_file_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		files:    counter("files_read_total", "Files that were read to their end, with all their rows durable."),
		failed:   counter("files_failed_total", "Files that could not be read to their end, or whose rows were refused."),
		bytes:    counter("read_bytes_total", "Bytes of text read from files, after decompression."),
		payloads: counter("payloads_total", "Payloads handed to the pipeline."),
		cut:      counter("oversized_values_total", "Lines or JSON values that were cut because they are longer than the limit."),
		rewinds:  counter("rewinds_total", "Times that a file was read again from an earlier position."),
	}
}
