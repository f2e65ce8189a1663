// A private Kafka for tests and benchmarks: one process that is broker and controller, from the jars in UTP_TEST_KAFKA.
#pragma once

#include <cstdlib>
#include <fstream>

#include "bus/testing/server_process.h"
#include "drivers/bus/kafka/kafka_bus.h"

namespace utp::kafka_bus_test {

class KafkaServer final : public bus_test::ServerProcess {
 public:
  // Why librdkafka cannot run here; "" where it can.
  static std::string missing_threads() {
#ifdef __SANITIZE_THREAD__
    return "ThreadSanitizer ends a program whose library makes C11 threads, as librdkafka does";
#endif
    return {};
  }
  // Why there can be no server here; "" where there can.
  static std::string missing() {
    if (const std::string reason = missing_threads(); !reason.empty()) return reason;
    if (java().empty()) return "java is not installed (Debian: apt-get install default-jre-headless)";
    if (const char* reason = std::getenv("UTP_TEST_KAFKA_MISSING")) return reason;
    if (jars().empty())
      return "UTP_TEST_KAFKA does not name the folder with Kafka's jars (python3 tests/on_demand.py kafka makes and "
             "prints it)";
    return {};
  }

  // `settings`: more lines of server.properties; `client`: what those make a client say.
  explicit KafkaServer(std::string settings = {}, KafkaBusOptions client = {})
      : ServerProcess("kafka"), settings_(std::move(settings)), client_(std::move(client)) {
    start();
  }
  // One for all tests of a process: it takes seconds to start. Gone at the end of the process.
  static KafkaServer& shared() {
    static KafkaServer server;
    return server;
  }
  // No two tests have the same.
  static std::string new_prefix() {
    static int number = 0;
    return "t" + std::to_string(::getpid()) + "-" + std::to_string(number++) + ".";
  }

  KafkaBusOptions options(const std::string& prefix) const {
    KafkaBusOptions o = client_;
    o.servers = "127.0.0.1:" + std::to_string(port());
    o.prefix = prefix;
    o.trim_every_ns = 0;  // nothing is trimmed behind a test's back
    return o;
  }

 private:
  static std::string java() { return bus_test::find_program({"/usr/bin/java", "/usr/local/bin/java"}); }
  static std::string jars() {
    const char* folder = std::getenv("UTP_TEST_KAFKA");
    return folder == nullptr ? "" : folder;
  }

  // The data are kept over restarts, and belong to the port that the first start took.
  std::vector<std::string> command() override {
    const std::string at = "127.0.0.1:" + std::to_string(port());
    const std::string controller = "127.0.0.1:" + std::to_string(free_port());
    const std::string settings = folder() + "/server.properties";
    std::ofstream(settings)
        << "process.roles=broker,controller\nnode.id=1\n"
        << "controller.quorum.voters=1@" << controller << "\ncontroller.listener.names=CONTROLLER\n"
        << "listeners=PLAINTEXT://" << at << ",CONTROLLER://" << controller << "\nadvertised.listeners=PLAINTEXT://"
        << at << "\nlog.dirs=" << folder() << "/data\n"
        << "offsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n"
           "transaction.state.log.num.partitions=1\ntransaction.state.log.replication.factor=1\n"
           "transaction.state.log.min.isr=1\n"
           "group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=500\n"
           "broker.session.timeout.ms=1000\nbroker.heartbeat.interval.ms=200\n"
           "auto.create.topics.enable=false\ncontrolled.shutdown.enable=false\n"
           "log.cleaner.threads=1\nlog.cleaner.dedupe.buffer.size=2097152\nlog.retention.check.interval.ms=3600000\n"
           "num.network.threads=1\nnum.io.threads=2\nbackground.threads=2\n"
        << settings_;
    const std::string log = folder() + "/log4j.properties";
    std::ofstream(log) << "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                          "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
                          "log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n\n";
    const std::string run =
        java() + " -Xms64m -Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j.configuration=file:" + log +
        " -cp '" + jars() + "/*' ";
    // It goes with the test's process, however that ends.
    return {"/usr/bin/setpriv",
            "--pdeathsig",
            "KILL",
            "/bin/sh",
            "-c",
            "test -e " + folder() + "/data/meta.properties || " + run +
                "kafka.tools.StorageTool format -t dXRwLXRlc3RzLWthZmthAA -c " + settings + "; exec " + run +
                "kafka.Kafka " + settings};
  }
  bool answers() const override {
    const int fd = connect();
    if (fd < 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return false;
    }
    ::close(fd);
    return open_kafka_bus(options("")).has_value();
  }
  std::chrono::seconds patience() const override { return std::chrono::seconds(60); }

  std::string settings_;
  KafkaBusOptions client_;
};

}  // namespace utp::kafka_bus_test
