#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/command.h"
#include "apps/utp/data_directory.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "connector/websocket.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

constexpr std::uint64_t kMemoryWanted = 512ull << 20;   // twice what a busy chamber holds
constexpr std::uint64_t kDiskWanted = 5ull << 30;       // the bus's default limit and a store beside it
constexpr std::uint64_t kDiskNeeded = 256ull << 20;
constexpr std::uint64_t kFilesWanted = 1024;            // open segments, connections, the store
constexpr int kConnectTimeoutMs = 4000;

enum class State { kGood, kWarning, kBad };

struct Check {
  std::string name;
  State state = State::kGood;
  std::string found;
  std::string cure;  // what to do, unless all is well
};

class Doctor {
 public:
  void add(std::string name, State state, std::string found, std::string cure = "") {
    checks_.push_back({std::move(name), state, std::move(found), state == State::kGood ? "" : std::move(cure)});
  }
  void add(std::string name, const Error& error) { checks_.push_back({std::move(name), State::kBad, error.message, ""}); }

  void machine(const std::string& data_dir);
  void retention(Bus& bus, bool local, const std::string& data_dir);
  void configuration(const Place& place, bool offline);
  void store(const Place& place, const Registry& registry);
  void server_store(const Place& place, const Registry& registry);
  void tables(const Place& place, const Registry& registry, bool may_make);

  int print(bool json) const;

 private:
  void processor();
  void memory();
  void limits();
  void clock();
  void disk(const std::string& path);
  void connectors(const Chamber& chamber, const Registry& registry, bool offline);
  void reach(const std::string& name, const std::string& endpoint);

  std::vector<Check> checks_;
};

void Doctor::processor() {
#if defined(__x86_64__) && defined(__AVX2__)
  __builtin_cpu_init();
  const bool good = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  add("processor", good ? State::kGood : State::kBad, fmt::format("{} threads, {}", std::thread::hardware_concurrency(), good ? "AVX2, BMI2, FMA" : "without AVX2, BMI2 or FMA"),
      "build with -DUTP_MARCH= (empty) for this machine");
#else
  add("processor", State::kGood, fmt::format("{} threads", std::thread::hardware_concurrency()));
#endif
}

void Doctor::memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::uint64_t kib = 0, available = 0;
  std::string rest;
  while (file >> name >> kib && std::getline(file, rest)) {
    if (name == "MemAvailable:") available = kib << 10;
  }
  // A container may allow less than the machine has.
  std::ifstream cgroup("/sys/fs/cgroup/memory.max");
  std::uint64_t limit = 0;
  if (cgroup >> limit && limit < available) available = limit;
  add("memory", available >= kMemoryWanted ? State::kGood : State::kWarning, human_bytes(available) + " available",
      fmt::format("a busy chamber wants {}; close other programs, or make queue and batch limits smaller", human_bytes(kMemoryWanted)));
}

void Doctor::limits() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  add("open files", files.rlim_cur >= kFilesWanted ? State::kGood : State::kWarning, fmt::format("at most {}", files.rlim_cur),
      fmt::format("ulimit -n {} (or LimitNOFILE= in the service)", kFilesWanted));
  rlimit space{}, size{};
  getrlimit(RLIMIT_AS, &space);
  getrlimit(RLIMIT_FSIZE, &size);
  if (space.rlim_cur != RLIM_INFINITY) {
    add("address space", State::kWarning, "limited to " + human_bytes(space.rlim_cur), "the embedded bus maps its segments: ulimit -v unlimited");
  }
  if (size.rlim_cur != RLIM_INFINITY) {
    add("file size", State::kWarning, "limited to " + human_bytes(size.rlim_cur), "the store grows past it: ulimit -f unlimited");
  }
}

void Doctor::clock() {
  timex state{};
  const int answer = adjtimex(&state);
  const bool known = answer >= 0;
  const bool good = known && answer != TIME_ERROR && !(state.status & STA_UNSYNC);
  add("clock", good ? State::kGood : State::kWarning,
      fmt::format("{}, {}", SystemClock().now().to_string().substr(0, 19) + "Z", good ? "synchronized" : known ? "not synchronized" : "state unknown"),
      "run a time service (chrony, systemd-timesyncd): receive times and staleness need it");
}

void Doctor::disk(const std::string& path) {
  // Of the nearest folder that exists.
  std::filesystem::path at = std::filesystem::absolute(path);
  std::error_code ignored;
  while (!std::filesystem::exists(at, ignored) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  struct statvfs space {};
  struct statfs kind {};
  if (statvfs(at.c_str(), &space) != 0 || statfs(at.c_str(), &kind) != 0) {
    add("disk", State::kBad, fmt::format("{}: {}", at.string(), std::strerror(errno)), "name another data_dir");
    return;
  }
  const std::uint64_t available = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
  add("disk", available >= kDiskWanted ? State::kGood : available >= kDiskNeeded ? State::kWarning : State::kBad,
      fmt::format("{} free at {}", human_bytes(available), at.string()),
      fmt::format("the bus keeps up to 4 GiB a topic by default; free some space, or set retention_bytes under topics ({} at least)", human_bytes(kDiskNeeded)));
  constexpr long kNfs = 0x6969, kSmb = 0x517B, kCifs = 0xFF534D42, kTmpfs = 0x01021994, kFuse = 0x65735546;
  const long type = static_cast<long>(kind.f_type);
  if (type == kNfs || type == kSmb || type == (kCifs & 0xFFFFFFFF) || type == kFuse) {
    add("file system", State::kBad, "a network or user-space file system", "the embedded bus and store need a local one: name another data_dir");
  } else if (type == kTmpfs) {
    add("file system", State::kWarning, "in memory (tmpfs)", "everything is gone after a restart: name another data_dir to keep it");
  }
  if (access(at.c_str(), W_OK | X_OK) != 0) {
    add("data directory", State::kBad, fmt::format("{} may not be written by this user", at.string()), "change its owner or permissions, or name another data_dir");
  } else {
    add("data directory", State::kGood, path + (at == std::filesystem::absolute(path) ? "" : " (made at the start)"));
  }
}

void Doctor::machine(const std::string& data_dir) {
  processor();
  memory();
  limits();
  clock();
  disk(data_dir);
}

// A TCP connection to the endpoint's host: name, route, firewall. No bytes are sent.
void Doctor::reach(const std::string& name, const std::string& endpoint) {
  const auto url = Url::parse(endpoint);
  if (!url) {
    add(name, url.error());
    return;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string cure = "check the network, the proxy and the firewall; the chamber itself goes on trying";
  if (const int error = getaddrinfo(url->host.c_str(), url->port.c_str(), &hints, &found); error != 0) {
    add(name, State::kBad, fmt::format("{}: {}", url->host, gai_strerror(error)), cure);
    return;
  }
  std::string why = "no answer";
  bool connected = false;
  for (const addrinfo* a = found; a && !connected; a = a->ai_next) {
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) continue;
    int error = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd entry{fd, POLLOUT, 0};
      socklen_t size = sizeof error;
      if (poll(&entry, 1, kConnectTimeoutMs) != 1) error = ETIMEDOUT;
      else getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    connected = error == 0;
    if (error != 0) why = std::strerror(error);
    close(fd);
  }
  freeaddrinfo(found);
  add(name, connected ? State::kGood : State::kBad, fmt::format("{}:{} {}", url->host, url->port, connected ? "answers" : why), cure);
}

void Doctor::connectors(const Chamber& chamber, const Registry& registry, bool offline) {
  for (const ConnectorConfig& config : chamber.connectors) {
    const std::string name = "connector " + config.source_id();
    const auto manifest = find_manifest(config.id, chamber.connector_dirs, registry);
    if (!manifest) {
      add(name, Error{manifest.error().code, config.place + ": " + manifest.error().message});
      continue;
    }
    if (const auto wanted = manifest->wanted(config.streams, config.symbols); !wanted) {
      add(name, Error{wanted.error().code, config.place + ": " + wanted.error().message});
      continue;
    }
    if (const auto secrets = manifest->read_secrets([](const char* variable) -> const char* { return std::getenv(variable); }); !secrets) {
      add(name, secrets.error());
      continue;
    }
    add(name, State::kGood, fmt::format("version {}", manifest->version));
    const std::string endpoint = config.endpoint.empty() ? manifest->endpoint : config.endpoint;
    if (!endpoint.empty() && !offline) reach(name, endpoint);
  }
}

// What the configured times would take at the pace of what is on the bus now: a limit by size wins over them.
void Doctor::retention(Bus& bus, bool local, const std::string& data_dir) {
  constexpr std::uint64_t kMessagesMin = 100;
  constexpr std::int64_t kSpanMinNs = 10'000'000'000;
  const auto topics = bus.stats(">");
  if (!topics) return add("retention", topics.error());
  std::uint64_t total = 0;
  bool short_of = false;
  for (const TopicStats& t : *topics) {
    const std::int64_t span = t.last_time - t.first_time;
    if (t.messages < kMessagesMin || span < kSpanMinNs) continue;
    const double seconds = static_cast<double>(span) / 1e9;
    const double bytes_per_second = static_cast<double>(t.bytes) / seconds;
    const double wanted = bytes_per_second * static_cast<double>(t.retention_ns) / 1e9;
    total += t.retention_ns > 0 ? static_cast<std::uint64_t>(std::min(wanted, static_cast<double>(t.retention_bytes))) : t.retention_bytes;
    if (t.retention_ns == 0 || wanted <= static_cast<double>(t.retention_bytes)) continue;
    short_of = true;
    add("retention " + t.topic, State::kWarning,
        fmt::format("at {:.0f} messages a second {} need {}; its limit of {} keeps {}", static_cast<double>(t.messages) / seconds, human_duration(t.retention_ns),
                    human_bytes(static_cast<std::uint64_t>(wanted)), human_bytes(t.retention_bytes),
                    human_duration(static_cast<std::int64_t>(static_cast<double>(t.retention_bytes) / bytes_per_second * 1e9))),
        "size wins over time: raise retention_bytes for this event type under topics, or take the shorter time for what it is");
  }
  if (total == 0) return;
  struct statvfs space {};
  const std::uint64_t available = local && statvfs(data_dir.c_str(), &space) == 0 ? static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize : UINT64_MAX;
  if (total > available) {
    add("retention", State::kWarning, fmt::format("at today's pace the bus grows to {}; the disk has {} free", human_bytes(total), human_bytes(available)),
        "lower retention or retention_bytes under topics, or use a larger disk");
  } else if (!short_of) {
    add("retention", State::kGood, fmt::format("at today's pace the bus grows to {} and keeps what is configured", human_bytes(total)));
  }
}

void Doctor::configuration(const Place& place, bool offline) {
  const auto registry = load_registry(place.schema_dirs);
  if (!registry) {
    add("schemas", registry.error());
    return;
  }
  add("schemas", State::kGood, fmt::format("{} schemas", registry->all().size()));
  if (place.chamber) {
    add("configuration", State::kGood, place.chamber->file);
    connectors(*place.chamber, *registry, offline);
  }
  const SystemClock clock;
  for (const BridgeConfig& bridge : place.chamber ? place.chamber->bridges : std::vector<BridgeConfig>()) {
    if (offline && local_path(bridge.from).empty()) continue;
    const auto bus = open_bus(bridge.from, clock, false);
    if (bus) add("bridge " + bridge.region, State::kGood, bridge.from_shown);
    else add("bridge " + bridge.region, State::kWarning, bus.error().message, "the chamber goes on trying; its events wait on the region's bus meanwhile");
  }
  if (const auto bus = open_bus(place.bus, clock, false)) {
    add("bus", State::kGood, place.bus_shown);
    retention(**bus, !local_path(place.bus).empty(), place.chamber ? place.chamber->data_dir : local_path(place.bus));
  }
  else if (bus.error().code == Code::kNotFound && place.chamber) add("bus", State::kGood, place.bus_shown + " (made at the start)");
  else add("bus", bus.error());
  store(place, *registry);
}

void Doctor::store(const Place& place, const Registry& registry) {
  if (local_path(place.store).empty()) return server_store(place, registry);
  if (const auto store = open_store(place.store, false)) add("store", State::kGood, place.store_shown);
  else if (store.error().code == Code::kNotFound && place.chamber) add("store", State::kGood, place.store_shown + " (made at the start)");
  else add("store", store.error());
}

void Doctor::server_store(const Place& place, const Registry& registry) {
  const auto looked = look_at_store(place.store);
  if (!looked) return add("store", looked.error());
  const StoreStatus& s = *looked;
  const bool made = s.catalogue_version > 0;
  add("store", State::kGood, fmt::format("{}: {}{}", place.store_shown, s.server_version, made ? "" : " (made at the start)"));
  // Whoever can do without the better one need not be warned again and again.
  add("store engine", State::kGood, s.engine + (s.engine_reason.empty() ? "" : fmt::format(" ({})", s.engine_reason)));
  if (place.chamber && !s.realm.empty() && s.realm != place.chamber->realm) {
    add("store realm", State::kBad, fmt::format("\"{}\", the chamber's is \"{}\"", s.realm, place.chamber->realm), "a store holds one realm: name another store, or this realm");
  }
  add("store connection", State::kGood, s.transport);
  if (made && s.catalogue_version >= s.newest_catalogue) add("store catalogue", State::kGood, fmt::format("version {}, the newest", s.catalogue_version));
  if (s.may_write && s.may_maintain) {
    add("store rights", State::kGood, fmt::format("user \"{}\" may {}", s.user, made ? "write and look after the store" : "make the store"));
  } else if (s.may_write) {
    add("store rights", State::kWarning, fmt::format("user \"{}\" may write, not look after the store", s.user),
        "let its owner do so: utp store maintain every half minute, and utp store migrate before a newer version writes");
  } else {
    add("store rights", State::kBad, fmt::format("user \"{}\" may not {}", s.user, made ? "write" : "make the store"),
        made ? "name a writer in the URL, or make one: utp store roles" : "utp store migrate as a user that may make tables there");
  }
  if (made && s.catalogue_version == s.newest_catalogue) tables(place, registry, s.may_maintain);
  for (const Finding& danger : s.dangers) add("store " + danger.where, State::kWarning, danger.what, danger.cure);
}

// Those of all schemas: who reads only is told what a writer would have to make.
void Doctor::tables(const Place& place, const Registry& registry, bool may_make) {
  const auto store = open_store(place.store, false);
  if (!store) return add("store tables", store.error());
  std::string lacking;
  std::size_t count = 0, wanted = 0;
  for (const auto& plan : registry.all()) {
    if (plan->table().empty()) continue;
    ++wanted;
    if (const auto prepared = (*store)->prepare(plan); prepared) continue;
    lacking += (++count == 1 ? "" : ", ") + plan->table();
  }
  if (count == 0) add("store tables", State::kGood, fmt::format("{}, for all schemas", wanted));
  else if (may_make) add("store tables", State::kGood, fmt::format("to be made or extended when they are first written: {}", lacking));
  else add("store tables", State::kWarning, "missing, or without the columns of their newest schema: " + lacking, "utp store migrate as the store's owner, before a chamber writes them");
}

int Doctor::print(bool json) const {
  constexpr std::string_view kNames[] = {"good", "warning", "bad"};
  int bad = 0, warnings = 0;
  for (const Check& check : checks_) {
    bad += check.state == State::kBad;
    warnings += check.state == State::kWarning;
  }
  if (json) {
    std::string out;
    JsonWriter writer(out);
    writer.begin_object().field("good", bad == 0).key("checks").begin_array();
    for (const Check& check : checks_) {
      writer.begin_object().field("name", check.name).field("state", kNames[static_cast<int>(check.state)]).field("found", check.found);
      if (!check.cure.empty()) writer.field("cure", check.cure);
      writer.end_object();
    }
    writer.end_array().end_object();
    fmt::print("{}\n", out);
    return bad > 0 ? kFailure : kOk;
  }
  const bool color = colored(STDOUT_FILENO);
  for (const Check& check : checks_) {
    const std::string mark = check.state == State::kGood      ? styled("good   ", Style::kGreen, color)
                             : check.state == State::kWarning ? styled("warning", Style::kYellow, color)
                                                              : styled("BAD    ", Style::kRed, color);
    fmt::print("{}  {}: {}\n", mark, styled(check.name, Style::kBold, color), check.found);
    if (!check.cure.empty()) fmt::print("         {}\n", check.cure);
  }
  fmt::print("{}\n", bad > 0 ? fmt::format("{} to repair, {} warnings", bad, warnings) : warnings > 0 ? fmt::format("ready, {} warnings", warnings) : "ready");
  return bad > 0 ? kFailure : kOk;
}

struct DoctorOptions {
  std::string file;
  bool offline = false;
};

int doctor(const DoctorOptions& options, Context& context) {
  Doctor doctor;
  PlaceOptions wanted;
  wanted.chamber = options.file;
  const auto place = locate(wanted, kUsesBus | kUsesStore);
  doctor.machine(place && place->chamber ? place->chamber->data_dir : demo_data_dir());
  if (place) doctor.configuration(*place, options.offline);
  else if (place.error().code == Code::kNotFound && options.file.empty()) doctor.add("configuration", State::kGood, "none yet; \"utp demo\" needs none, examples/chamber.yaml is a start");
  else doctor.add("configuration", place.error());
  return doctor.print(context.common.json);
}

}  // namespace

void add_doctor(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "doctor", "Checks the machine, the configuration and the connections, and says what to do",
                                  "  utp doctor\n  utp doctor chamber.yaml\n  utp doctor chamber.yaml --offline --json");
  auto options = std::make_shared<DoctorOptions>();
  command->add_option("CHAMBER", options->file, "Chamber file (default ./chamber.yaml)");
  command->add_flag("--offline", options->offline, "Without connections to venues");
  command->callback([&context, options] { context.action = [&context, options] { return doctor(*options, context); }; });
}

}  // namespace utp::app
