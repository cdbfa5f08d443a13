import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.nio.netty.Http2Configuration;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One KCL worker that appends what it was given to a log file: "record SHARD SEQUENCE SUB DATA", and the events of each
 * shard's life. It adds no cleverness: what it does is what the library does. It checkpoints with the first batch after each
 * checkpoint-ms: with every batch, as by fan-out comes for nearly every record, no other worker could take a lease, since a
 * checkpoint changes the counter that taking is conditional on. With checkpoint-sub it checkpoints at that user record of an
 * aggregate instead of at the batch's end, so that a successor has to go on in the middle.
 *
 * It compiles with the library's versions 2 and 3; version 2 knows no modes, so there mode is 2x.
 *
 * Arguments, as --key value: endpoint, stream, app, worker, log, mode (2x, compat or 3x), reader (polling or fan-out),
 * failover-ms, sync-ms, checkpoint-ms, checkpoint-sub.
 */
public final class KclWorker {
    public static void main(String[] args) throws Exception {
        Map<String, String> opt = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            opt.put(args[i].substring(2), args[i + 1]);
        }
        URI endpoint = URI.create(opt.get("endpoint"));
        Log log = new Log(Path.of(opt.get("log")));
        StaticCredentialsProvider credentials =
            StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        Region region = Region.US_EAST_1;
        boolean fanOut = "fan-out".equals(opt.getOrDefault("reader", "polling"));
        // SubscribeToShard needs HTTP/2; to a plain http endpoint Netty then speaks it with prior knowledge. The other settings
        // are those of the library's own KinesisClientUtil.
        NettyNioAsyncHttpClient.Builder http = fanOut
            ? NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2).maxConcurrency(Integer.MAX_VALUE)
                .http2Configuration(Http2Configuration.builder().initialWindowSize(512 * 1024)
                    .healthCheckPingPeriod(Duration.ofSeconds(60)).build())
            : NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1).maxConcurrency(64);
        KinesisAsyncClient kinesis = KinesisAsyncClient.builder().region(region).credentialsProvider(credentials)
            .httpClientBuilder(http).endpointOverride(endpoint).build();
        DynamoDbAsyncClient dynamo = DynamoDbAsyncClient.builder().region(region).credentialsProvider(credentials)
            .endpointOverride(endpoint).build();
        CloudWatchAsyncClient cloudwatch = CloudWatchAsyncClient.builder().region(region).credentialsProvider(credentials)
            .endpointOverride(endpoint).build();

        SingleStreamTracker tracker = new SingleStreamTracker(
            StreamIdentifier.singleStreamInstance(opt.get("stream")),
            InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        ConfigsBuilder configs = new ConfigsBuilder(tracker, opt.get("app"), kinesis, dynamo, cloudwatch,
            opt.get("worker"), new Factory(log, Long.parseLong(opt.getOrDefault("checkpoint-ms", "1000")),
            Long.parseLong(opt.getOrDefault("checkpoint-sub", "-1"))));

        CoordinatorConfig coordinator = configs.coordinatorConfig();
        switch (opt.getOrDefault("mode", "compat")) {
            case "3x" -> clientVersion(coordinator, "CLIENT_VERSION_CONFIG_3X");
            case "compat" -> clientVersion(coordinator, "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X");
            default -> { }
        }
        coordinator.shardConsumerDispatchPollIntervalMillis(200);
        coordinator.parentShardPollIntervalMillis(1000);
        var leases = configs.leaseManagementConfig();
        leases.failoverTimeMillis(Long.parseLong(opt.getOrDefault("failover-ms", "10000")));
        leases.shardSyncIntervalMillis(Long.parseLong(opt.getOrDefault("sync-ms", "1000")));
        var metrics = configs.metricsConfig();
        metrics.metricsFactory(new NullMetricsFactory());
        var retrieval = configs.retrievalConfig();
        retrieval.retrievalSpecificConfig(fanOut
            ? new FanOutConfig(kinesis).streamName(opt.get("stream")).applicationName(opt.get("app"))
            : new PollingConfig(opt.get("stream"), kinesis).idleTimeBetweenReadsInMillis(300));

        Scheduler scheduler = new Scheduler(configs.checkpointConfig(), coordinator, leases,
            configs.lifecycleConfig(), metrics, configs.processorConfig(), retrieval);
        Thread thread = new Thread(scheduler, "scheduler");
        thread.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                scheduler.startGracefulShutdown().get(20, TimeUnit.SECONDS);
                log.line("stopped");
            } catch (Exception e) {
                log.line("stop-failed " + e);
            }
        }));
        log.line("started");
        thread.join();
    }

    /** Says coordinator.clientVersionConfig(ClientVersionConfig.name), which version 2 of the library has not. */
    private static void clientVersion(CoordinatorConfig coordinator, String name) throws ReflectiveOperationException {
        for (Class<?> type : CoordinatorConfig.class.getDeclaredClasses()) {
            if (!type.getSimpleName().equals("ClientVersionConfig")) {
                continue;
            }
            Object value = type.getMethod("valueOf", String.class).invoke(null, name);
            CoordinatorConfig.class.getMethod("clientVersionConfig", type).invoke(coordinator, value);
            return;
        }
        throw new NoSuchMethodException("this version of the library has no ClientVersionConfig: use --mode 2x");
    }

    private record Factory(Log log, long checkpointMillis, long checkpointSub) implements ShardRecordProcessorFactory {
        @Override public ShardRecordProcessor shardRecordProcessor() {
            return new Processor(log, checkpointMillis, checkpointSub);
        }
    }

    private static final class Processor implements ShardRecordProcessor {
        private final Log log;
        private final long checkpointMillis;
        private final long checkpointSub;
        private long checkpointed = System.nanoTime();
        private String shard;

        Processor(Log log, long checkpointMillis, long checkpointSub) {
            this.log = log;
            this.checkpointMillis = checkpointMillis;
            this.checkpointSub = checkpointSub;
        }

        @Override public void initialize(InitializationInput input) {
            shard = input.shardId();
            log.line("initialize " + shard + " " + input.extendedSequenceNumber().sequenceNumber() + " "
                + input.extendedSequenceNumber().subSequenceNumber());
        }

        @Override public void processRecords(ProcessRecordsInput input) {
            StringBuilder out = new StringBuilder();
            for (KinesisClientRecord r : input.records()) {
                byte[] data = new byte[r.data().remaining()];
                r.data().get(data);
                out.append("record ").append(shard).append(' ').append(r.sequenceNumber()).append(' ')
                    .append(r.subSequenceNumber()).append(' ').append(new String(data, StandardCharsets.UTF_8)).append('\n');
            }
            log.raw(out.toString());
            if (System.nanoTime() - checkpointed >= checkpointMillis * 1_000_000) {
                checkpointBatch(input);
            }
        }

        @Override public void leaseLost(LeaseLostInput input) {
            log.line("lease-lost " + shard);
        }

        @Override public void shardEnded(ShardEndedInput input) {
            log.line("shard-ended " + shard);
            checkpoint(input.checkpointer());
        }

        @Override public void shutdownRequested(ShutdownRequestedInput input) {
            log.line("shutdown-requested " + shard);
            checkpoint(input.checkpointer());
        }

        private void checkpointBatch(ProcessRecordsInput input) {
            KinesisClientRecord at = null;
            for (KinesisClientRecord r : input.records()) {
                if (checkpointSub < 0 || r.subSequenceNumber() == checkpointSub) {
                    at = r;
                }
            }
            if (at == null) {
                return;
            }
            checkpointed = System.nanoTime();
            try {
                input.checkpointer().checkpoint(at.sequenceNumber(), at.subSequenceNumber());
            } catch (Exception e) {
                log.line("checkpoint-failed " + shard + " " + e.getClass().getSimpleName());
            }
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (Exception e) {
                log.line("checkpoint-failed " + shard + " " + e.getClass().getSimpleName());
            }
        }
    }

    /** Appends whole lines; a kill may cut the last one, which the reader ignores. */
    private static final class Log {
        private final PrintStream out;

        Log(Path path) throws IOException {
            out = new PrintStream(Files.newOutputStream(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND), false,
                StandardCharsets.UTF_8);
        }

        synchronized void line(String s) {
            raw(s + "\n");
        }

        synchronized void raw(String s) {
            out.print(s);
            out.flush();
        }
    }
}
