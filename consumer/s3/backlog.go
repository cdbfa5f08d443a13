package s3

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Backlog is what waits to be read, by the queues. Their counts are approximate, and so are bytes: those of the mouthfuls received lately,
// times what waits.
type Backlog struct {
	// Mouthfuls wait, Reading are in workers' hands.
	Mouthfuls, Reading int64
	// Files are announced and in no mouthful yet; 0 where this process knows no queue of them.
	Files int64
	// Coming is how many mouthfuls these will make, about.
	Coming int64
	Bytes  int64
	// Age is how long the mouthful received last had waited; 0 when none waits.
	Age time.Duration
}

// sizes remembers what mouthfuls are like.
type sizes struct {
	mu                      sync.Mutex
	mouthfuls, files, bytes float64
	waited                  time.Duration
}

// seenLately is how many mouthfuls the means are of, about.
const seenLately = 50

func (s *sizes) saw(files, bytes int64, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const keep = 1 - 1.0/seenLately
	s.mouthfuls, s.files, s.bytes = s.mouthfuls*keep+1, s.files*keep+float64(files), s.bytes*keep+float64(bytes)
	s.waited = waited
}

// guessedFile is taken for the mean size of files before any was seen.
const guessedFile = 1 << 20

func (s *sizes) means(c GatherConfig) (mouthful, file float64, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mouthfuls == 0 || s.files == 0 {
		return float64(c.MaxBytes), guessedFile, 0
	}
	return s.bytes / s.mouthfuls, s.bytes / s.files, s.waited
}

// Backlog asks the queues.
func (w *Worker) Backlog(ctx context.Context) (Backlog, error) {
	mouthful, file, waited := w.seen.means(w.cfg.Gather)
	var b Backlog
	var err error
	if b.Mouthfuls, b.Reading, err = w.depth(ctx, w.cfg.MouthfulQueue); err != nil {
		return b, err
	}
	if w.cfg.Gather.Queue != "" {
		if b.Files, _, err = w.depth(ctx, w.cfg.Gather.Queue); err != nil {
			return b, err
		}
	}
	b.Coming = int64(math.Ceil(float64(b.Files) * file / mouthful))
	b.Bytes = int64(float64(b.Mouthfuls)*mouthful + float64(b.Files)*file)
	if b.Mouthfuls > 0 {
		b.Age = waited
	}
	return b, nil
}

func (w *Worker) depth(ctx context.Context, url string) (visible, inFlight int64, err error) {
	out, err := w.d.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the depth of %s: %w", url, err)
	}
	count := func(name types.QueueAttributeName) int64 {
		n, err := strconv.ParseInt(out.Attributes[string(name)], 10, 64)
		if err != nil {
			return 0 // as good as not told
		}
		return n
	}
	return count(types.QueueAttributeNameApproximateNumberOfMessages), count(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible), nil
}

// ReadBytes is how many bytes of files, as they lie in S3, this worker has brought to their end.
func (w *Worker) ReadBytes() int64 { return w.bytesOver.Load() }

// Slots is how many mouthfuls this worker reads at once.
func (w *Worker) Slots() int { return w.cfg.Work.Slots }

// waitedFor is how long a message lay in its queue.
func waitedFor(msg types.Message, now time.Time) time.Duration {
	ms, err := strconv.ParseInt(msg.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64)
	if err != nil {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(ms)))
}

// see takes note of what a message tells.
func (w *Worker) see(msg types.Message) {
	if m, ok := parseMessage(aws.ToString(msg.Body)); ok {
		w.seen.saw(int64(m.Files), m.Bytes, waitedFor(msg, time.Now()))
	}
}
