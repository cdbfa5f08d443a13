package s3

import "github.com/prometheus/client_golang/prometheus"

type gatherMetrics struct {
	notifications, resent, errors prometheus.Counter
	held                          prometheus.Gauge
	skipped, faults               map[string]prometheus.Counter
}

func (m *gatherMetrics) skip(reason string)  { m.skipped[reason].Inc() }
func (m *gatherMetrics) fault(reason string) { m.faults[reason].Inc() }

// maker makes and registers metrics.
type maker struct{ reg prometheus.Registerer }

func (k maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_s3_" + name, Help: help})
	k.reg.MustRegister(c)
	return c
}

func (k maker) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "dredge_s3_" + name, Help: help})
	k.reg.MustRegister(g)
	return g
}

// counters makes one counter for each value of the label reason.
func (k maker) counters(name, help string, reasons ...string) map[string]prometheus.Counter {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dredge_s3_" + name, Help: help}, []string{"reason"})
	k.reg.MustRegister(v)
	out := map[string]prometheus.Counter{}
	for _, r := range reasons {
		out[r] = v.WithLabelValues(r)
	}
	return out
}

func newGatherMetrics(reg prometheus.Registerer) *gatherMetrics {
	k := maker{reg}
	return &gatherMetrics{
		notifications: k.counter("notifications_total", "Messages received from the queue that S3 announces files in."),
		resent:        k.counter("mouthfuls_resent_total", "Mouthfuls sent again because their gatherer had not noted that it sent them."),
		errors:        k.counter("gather_errors_total", "Calls of a gatherer that failed and were tried again."),
		held:          k.gauge("notifications_held", "Notifications received and not yet deleted or given back."),
		skipped: k.counters("announcements_skipped_total", "Announcements that name no flow log and were acknowledged, by reason.",
			skipTest, skipNotMade, skipNotStore, skipSNS, skipEmpty, skipSuffix, skipOther, skipPrefix),
		faults: k.counters("notification_faults_total", "Notifications, or records in them, that were not understood and left in their queue, by reason.",
			faultTooLarge, faultJSON, faultShape, faultVersion, faultKey, faultSize, faultIdentity),
	}
}

type formMetrics struct {
	duplicates, deferred, mouthfuls, files, bytes prometheus.Counter
	fill                                          prometheus.Histogram
}

func newFormMetrics(reg prometheus.Registerer) *formMetrics {
	k := maker{reg}
	m := &formMetrics{
		duplicates: k.counter("duplicate_files_total", "Announcements of files that were in a mouthful already."),
		deferred:   k.counter("deferred_files_total", "Announcements left in their queue because another gatherer's mouthful has the file and is not sealed."),
		mouthfuls:  k.counter("mouthfuls_sent_total", "Mouthfuls put into their queue by the gatherer that formed them."),
		files:      k.counter("mouthful_files_total", "Files in the mouthfuls that were sent."),
		bytes:      k.counter("mouthful_bytes_total", "Bytes, as they lie in S3, of the files in the mouthfuls that were sent."),
		fill: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_s3_mouthful_fill_ratio", Help: "Bytes of a mouthful as a share of the most that it may have.",
			Buckets: []float64{0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1},
		}),
	}
	reg.MustRegister(m.fill)
	return m
}

type workMetrics struct {
	mouthfuls, unfinished, contended, lost, unknown prometheus.Counter
	files, fileBytes, textBytes, payloads, cut      prometheus.Counter
	rewinds, errors, fenced                         prometheus.Counter
	faults, quarantined                             map[string]prometheus.Counter
}

func newWorkMetrics(reg prometheus.Registerer) *workMetrics {
	k := maker{reg}
	return &workMetrics{
		mouthfuls:   k.counter("mouthfuls_done_total", "Mouthfuls read to their end, with all their rows durable or their files quarantined."),
		unfinished:  k.counter("mouthfuls_unfinished_total", "Mouthfuls given back with files left to read: at a drain, or because a file or the sink failed."),
		contended:   k.counter("mouthfuls_contended_total", "Messages whose mouthful another worker was reading."),
		lost:        k.counter("claims_lost_total", "Mouthfuls that could not be kept or ended because their claim was lost or not extended in time."),
		unknown:     k.counter("mouthfuls_unknown_total", "Messages that name no mouthful of the ledger, left in their queue."),
		files:       k.counter("files_read_total", "Files that were read to their end, with all their rows durable."),
		fileBytes:   k.counter("read_bytes_total", "Bytes, as they lie in S3, of the files that were read to their end."),
		textBytes:   k.counter("text_bytes_total", "Bytes of text read from files, after decompression; of Parquet, of the lines made of it."),
		payloads:    k.counter("payloads_total", "Payloads handed to the pipeline."),
		cut:         k.counter("oversized_values_total", "Lines or JSON values that were cut because they are longer than the limit."),
		rewinds:     k.counter("rewinds_total", "Times that a file was read again from an earlier position because the sink asked for it."),
		fenced:      k.counter("slots_fenced_total", "Former owners of mouthfuls that were fenced at a take-over; only with a sink that commits exactly once."),
		errors:      k.counter("work_errors_total", "Calls and mouthfuls of a worker that failed and were tried again."),
		faults:      k.counters("file_faults_total", "Tries to read a file that failed, by reason.", fileReasons()...),
		quarantined: k.counters("files_quarantined_total", "Files given up, by the reason that stands in the ledger.", fileReasons()...),
	}
}
