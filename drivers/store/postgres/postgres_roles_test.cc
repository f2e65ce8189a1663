// What an owner, a writer, a replacer and a reader may do, and that they may do nothing else.
#include "core/clock.h"
#include "drivers/store/postgres/postgres_fixture.h"

namespace utp {
namespace {

using postgres_test::EngineTest;
using postgres_test::run_sql;
using store_test::Events;

constexpr std::int64_t kDay = 86'400'000'000'000;

class PostgresRoles : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    owner_ = database_.schema + "_owner";
    writer_ = database_.schema + "_Wri\"ter; --";  // what has to be quoted
    replacer_ = database_.schema + "_replacer";
    reader_ = database_.schema + "_reader";
    database_.sql("CREATE ROLE " + owner_ + " LOGIN; ALTER SCHEMA " + database_.schema + " OWNER TO " + owner_);
    let_in(owner_);
    trades_ = plan("trades/v2");
    owners_ = open_as(owner_);
    ASSERT_TRUE(owners_->prepare(trades_));
    ASSERT_TRUE(owners_->prepare(stories_));
  }
  void TearDown() override {
    EngineTest::TearDown();
    for (const std::string& role : {owner_, writer_, replacer_, reader_}) {
      if (!role.empty())
        run_sql(database_.url, "DO $d$ BEGIN EXECUTE 'DROP OWNED BY " + quoted(role) + "'; EXECUTE 'DROP ROLE " + quoted(role) +
                                   "'; EXCEPTION WHEN undefined_object THEN END $d$");
    }
  }
  static std::string quoted(const std::string& role) {
    std::string out = "\"";
    for (const char c : role) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  }
  // A server that asks for passwords wants one.
  void let_in(const std::string& role) const { database_.sql("ALTER ROLE " + quoted(role) + " PASSWORD 'test'"); }
  std::string url_as(const std::string& role) const {
    std::string name;
    for (const char c : role) {
      char code[4];
      std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
      name += code;
    }
    const std::string all = database_.in_schema();
    return "postgres://" + name + ":test" + all.substr(all.find('@'));
  }
  PostgresStoreOptions options_as(const std::string& role, bool read_only = false) const {
    PostgresStoreOptions options = *parse_postgres_url(url_as(role));
    options.read_only = read_only;
    return options;
  }
  std::unique_ptr<Store> open_as(const std::string& role, bool read_only = false) const {
    auto store = open_postgres_store(options_as(role, read_only));
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  std::string sql_as(const std::string& role, const std::string& text) const { return run_sql(url_as(role), text); }
  // By a superuser, as the owner may not make roles.
  std::string set_up() const {
    const auto script = open()->set_up_roles({{writer_}, {replacer_}, {reader_}}, true);
    EXPECT_TRUE(script) << script.error().message;
    for (const std::string& role : {writer_, replacer_, reader_}) let_in(role);
    return script ? *script : "";
  }
  Events events(std::initializer_list<std::int64_t> times) const {
    Events out;
    for (const std::int64_t time : times) {
      Event& trade = out.add(trades_, "BTC-USD", time);
      trade.envelope.checksum = 1;
      Events::set_decimal(trade, "price", "100");
      Events::set_decimal(trade, "size", "1");
      Event& story = out.add(stories_, "BTC-USD", time);
      story.envelope.checksum = 1;
      Events::set_text(story, "headline", "h");
      Events::set_texts(story, "tickers", {"A", "B"});
    }
    return out;
  }
  static WriteResult write(Store& store, const Events& events) {
    const auto result = store.write(events.pointers());
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : WriteResult{};
  }
  void expect_refused(const std::string& role, const std::string& statement) const {
    const std::string said = sql_as(role, statement);
    EXPECT_TRUE(said.find("permission denied") != std::string::npos || said.find("must be owner") != std::string::npos)
        << statement << ": " << said;
  }

  // TimescaleDB cannot grant single columns of a table that it compresses.
  bool may_read_what_it_writes(std::string_view statement) const {
    return has_timescale() && statement.starts_with("SELECT") && statement.find("FROM trade_") == std::string_view::npos &&
           statement.find("utp_") == std::string_view::npos;
  }

  const std::int64_t now_ = SystemClock().now().ns;
  const std::shared_ptr<const Plan> stories_ = store_test::stories_plan();
  std::string owner_, writer_, replacer_, reader_;
  std::shared_ptr<const Plan> trades_;
  std::unique_ptr<Store> owners_;
};

UTP_TEST_ON_ENGINES(PostgresRoles);

TEST_P(PostgresRoles, AWriterStoresEventsAndDoesNothingElse) {
  set_up();
  auto store = open_as(writer_);
  ASSERT_TRUE(store->prepare(trades_));
  ASSERT_TRUE(store->prepare(stories_));
  EXPECT_EQ(write(*store, events({now_, now_ - 40 * kDay})).inserted, 4u);  // days that have no part yet
  EXPECT_EQ(write(*store, events({now_, now_ + 1})).duplicates, 2u);
  for (int i = 0; i < 25; ++i) write(*store, events({now_ + 2 + i}));  // straight into the table again
  EXPECT_EQ(write(*store, events({now_ + 26, now_ + 100})).duplicates, 2u);
  EXPECT_EQ(sql_as(owner_, "SELECT count(*) FROM trades"), "29");
  EXPECT_EQ(sql_as(owner_, "SELECT count(*) FROM stories"), "58");
  if (has_timescale()) {  // where they are compressed, too
    sql_as(owner_,
           "DO $$ DECLARE c regclass; BEGIN FOR c IN SELECT show_chunks('trades', older_than => INTERVAL '30 days') LOOP CALL "
           "convert_to_columnstore(c); END LOOP; END $$");
    EXPECT_EQ(write(*store, events({now_ - 40 * kDay, now_ - 40 * kDay + 1})).duplicates, 2u);
  }
  for (const char* statement :
       {"SELECT price FROM trades", "SELECT headline FROM stories", "SELECT * FROM trade_bars_1m", "DELETE FROM trades",
        "TRUNCATE trades", "UPDATE trades SET price = 1", "DROP TABLE trades", "ALTER TABLE trades ADD COLUMN x text",
        "CREATE INDEX ON trades (price)", "DELETE FROM utp_touched", "UPDATE utp_meta SET value = ''", "DELETE FROM utp_meta",
        "INSERT INTO utp_tables DEFAULT VALUES", "DELETE FROM utp_symbols", "INSERT INTO utp_aggregates DEFAULT VALUES",
        "SELECT utp_drop_partitions('trades', now())", "BEGIN; LOCK TABLE trades IN ACCESS EXCLUSIVE MODE"}) {
    if (!may_read_what_it_writes(statement)) expect_refused(writer_, statement);
  }
  expect_refused(writer_, "CREATE TABLE " + database_.schema + ".x (a int)");
  EXPECT_EQ(store->maintain().error().code, Code::kPermission);
}

TEST_P(PostgresRoles, AReaderReadsEverythingAndWritesNothing) {
  set_up();
  write(*owners_, events({now_ - 3 * kDay, now_}));
  auto store = open_as(reader_, true);
  std::vector<Value> values;
  for (const Query& query :
       {Query{.event_type = "trades/v2"}, Query{.event_type = "trades/v2", .as_of = kEndOfTime},
        Query{.event_type = "trade_bars_1m"}, Query{.event_type = "trade_bars_1d"}, Query{.event_type = "stories/v1"}}) {
    auto cursor = store->query(query);
    ASSERT_TRUE(cursor) << cursor.error().message;
    const auto row = (*cursor)->next(values);
    ASSERT_TRUE(row) << row.error().message;
    EXPECT_TRUE(*row) << query.event_type;
  }
  ASSERT_TRUE(owners_->maintain());
  const auto status = store->status();
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->tables.size(), 2u);
  EXPECT_EQ(status->aggregates.size(), 5u);
  EXPECT_FALSE(status->may_write);
  EXPECT_FALSE(status->may_maintain);
  const auto findings = store->verify();
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_TRUE(findings->empty());
  EXPECT_TRUE(store->stats());
  EXPECT_EQ(store->sources("trades/v2")->size(), 1u);
  for (const char* statement : {"INSERT INTO trades (event_time) VALUES (now())", "DELETE FROM trades", "DROP TABLE trades",
                                "INSERT INTO utp_symbols VALUES ('a', 'b')",
                                "INSERT INTO utp_touched (table_name, first, last) VALUES ('trades', now(), now())",
                                "SELECT utp_make_partition('trades', now())", "SELECT utp_drop_partitions('trades', now())"}) {
    expect_refused(reader_, statement);
  }
  expect_refused(reader_, "CREATE TABLE " + database_.schema + ".x (a int)");
  auto writing = open_as(reader_);
  ASSERT_TRUE(writing->prepare(trades_));
  const auto refused = writing->write(events({now_ + 1}).pointers());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kPermission) << refused.error().message;
  EXPECT_FALSE(refused.error().retryable);
}

TEST_P(PostgresRoles, AReplacerTakesARangeOutAndAWriterMayNot) {
  set_up();
  write(*owners_, events({now_ - kDay, now_}));
  const ReplaceRange range{{"trades/v2", "stories/v1"}, "venue.us1", {now_ - 10}, {now_ + 10}};
  auto writers = open_as(writer_);
  ASSERT_TRUE(writers->prepare(trades_));
  const auto refused = writers->begin_replace(range);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kPermission) << refused.error().message;
  auto store = open_as(replacer_);
  ASSERT_TRUE(store->prepare(trades_));
  ASSERT_TRUE(store->prepare(stories_));
  EXPECT_EQ(*store->sources("trades/v2"), std::vector<std::string>{"venue.us1"});
  {
    auto replacement = store->begin_replace(range);
    ASSERT_TRUE(replacement) << replacement.error().message;
    EXPECT_EQ((*replacement)->removed().at("stories/v1"), 2u);
    const auto written = (*replacement)->write(events({now_ + 1, now_ - 90 * kDay}).pointers());
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_EQ(written->inserted, 4u);
    const auto committed = (*replacement)->commit();
    ASSERT_TRUE(committed) << committed.error().message;
  }
  EXPECT_EQ(sql_as(owner_, "SELECT count(*) FROM trades"), "3");
  for (const char* statement :
       {"DROP TABLE trades", "TRUNCATE trades", "SELECT price FROM trades", "UPDATE trades SET price = 1"}) {
    if (!may_read_what_it_writes(statement)) expect_refused(replacer_, statement);
  }
}

TEST_P(PostgresRoles, TablesMadeLaterAreTheOwnersAndGiveTheSameRights) {
  set_up();
  const auto quotes = plan("quotes/v2");
  ASSERT_TRUE(open()->prepare(quotes));  // a superuser
  EXPECT_EQ(database_.sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'quotes'::regclass"), owner_);
  auto store = open_as(writer_);
  ASSERT_TRUE(store->prepare(quotes));
  Events events;
  for (int i = 0; i < 2; ++i) events.add(quotes, "BTC-USD", now_ - kDay).envelope.checksum = 1;
  EXPECT_EQ(write(*store, events).inserted, 1u);
  EXPECT_EQ(sql_as(reader_, "SELECT count(*) FROM quotes"), "1");
  EXPECT_EQ(sql_as(reader_, "SELECT count(*) FROM quote_stats_1h"), "0");
  if (!has_timescale()) expect_refused(writer_, "SELECT bid FROM quotes");
  auto replacement = open_as(replacer_)->begin_replace({{"quotes/v2"}, "venue.us1", {0}, kEndOfTime});
  EXPECT_TRUE(replacement) << replacement.error().message;
  ASSERT_TRUE(owners_->set_policy("quotes/v2", {.retention_ns = 90 * kDay}));
  EXPECT_EQ(open_as(writer_)->set_policy("quotes/v2", {.retention_ns = 0}).error().code, Code::kPermission);
}

// As whom a chamber looks after its store, where it is not to be the owner.
TEST_P(PostgresRoles, AMemberOfTheOwnerDoesWhatTheOwnerDoes) {
  set_up();
  database_.sql("GRANT " + owner_ + " TO " + reader_);
  auto store = open_as(reader_);
  const auto quotes = plan("quotes/v2");
  ASSERT_TRUE(store->prepare(quotes));
  EXPECT_EQ(database_.sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'quotes'::regclass"), owner_);
  ASSERT_TRUE(store->prepare(trades_));
  ASSERT_TRUE(store->prepare(stories_));
  write(*store, events({now_ - 3 * kDay, now_}));
  EXPECT_TRUE(store->status()->may_maintain);
  auto done = store->maintain();
  while (!done && done.error().retryable) done = store->maintain();  // TimescaleDB's own refresh may be at it
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_GT(done->ranges, 0u);
  EXPECT_EQ(sql_as(owner_, "SELECT sum(trades) FROM trade_bars_1d"), "2");
}

TEST_P(PostgresRoles, AWriterThatIsShutOutForAWhileGoesOnLater) {
  set_up();
  auto store = open_as(writer_);
  ASSERT_TRUE(store->prepare(trades_));
  ASSERT_TRUE(store->prepare(stories_));
  write(*store, events({now_}));
  database_.sql("ALTER ROLE " + quoted(writer_) + " NOLOGIN");
  database_.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = E'" + database_.schema +
                "_Wri\"ter; --'");
  const Events more = events({now_ + 1});
  for (int i = 0; i < 2; ++i) {
    const auto refused = store->write(more.pointers());
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().retryable) << refused.error().message;
  }
  EXPECT_FALSE(open_postgres_store(options_as(writer_)).error().retryable);
  database_.sql("ALTER ROLE " + quoted(writer_) + " LOGIN");
  EXPECT_EQ(write(*store, more).inserted, 2u);
}

TEST_P(PostgresRoles, AWriterThatNeedsANewColumnOrTableSaysWhoMakesIt) {
  set_up();
  const std::string old_fields = R"("a":{"type":["number","null"]})",
                    new_fields = old_fields + R"(,"b":{"type":["number","null"]})";
  const auto older = store_test::compile(store_test::schema_text("m", "1.0.0", old_fields)),
             newer = store_test::compile(store_test::schema_text("m", "1.1.0", new_fields));
  auto store = open_as(writer_);
  auto refused = store->prepare(older);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kPermission);
  EXPECT_NE(refused.error().message.find("utp store migrate"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find(owner_), std::string::npos) << refused.error().message;
  ASSERT_TRUE(owners_->prepare(older));
  ASSERT_TRUE(store->prepare(older));
  refused = open_as(writer_)->prepare(newer);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kPermission);
  EXPECT_NE(refused.error().message.find("utp store migrate"), std::string::npos) << refused.error().message;
  ASSERT_TRUE(owners_->prepare(newer));
  auto next = open_as(writer_);
  ASSERT_TRUE(next->prepare(newer));
  Events event;
  Events::set_decimal(event.add(newer, "X", now_), "b", "2");
  EXPECT_EQ(write(*next, event).inserted, 1u);
  Events before;
  before.add(older, "X", now_ + 1);  // the one that runs still
  EXPECT_EQ(write(*store, before).inserted, 1u);
  // So it is with the catalogue of a newer program.
  database_.sql("DELETE FROM utp_migrations WHERE version > 1");
  const auto later = open_postgres_store(options_as(writer_));
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code, Code::kPermission);
  EXPECT_NE(later.error().message.find("utp store migrate"), std::string::npos) << later.error().message;
}

TEST_P(PostgresRoles, CanBeSetUpAgainAndTakeAwayWhatWasTooMuch) {
  const std::string script = set_up();
  database_.sql("GRANT ALL ON ALL TABLES IN SCHEMA " + database_.schema + " TO " + quoted(reader_) + "; GRANT ALL ON SCHEMA " +
                database_.schema + " TO " + reader_ + "; GRANT EXECUTE ON FUNCTION utp_drop_partitions TO " + reader_);
  EXPECT_EQ(set_up(), script);
  for (const char* statement :
       {"DELETE FROM trades", "INSERT INTO utp_meta VALUES ('a', 'b')", "SELECT utp_drop_partitions('trades', now())"})
    expect_refused(reader_, statement);
  EXPECT_EQ(sql_as(reader_, "SELECT count(*) FROM trades"), "0");
  // As a script it does the same, and does it by itself only when asked to.
  const auto printed = owners_->set_up_roles({{}, {}, {reader_}}, false);
  ASSERT_TRUE(printed) << printed.error().message;
  EXPECT_EQ(sql_as(owner_, "REVOKE SELECT ON trades FROM " + reader_), "");
  expect_refused(reader_, "SELECT * FROM trades");
  EXPECT_EQ(sql_as(owner_, *printed), "");  // roles that are there: the owner may
  EXPECT_EQ(sql_as(reader_, "SELECT count(*) FROM trades"), "0");
  EXPECT_EQ(script.find("PASSWORD"), std::string::npos);
}

TEST_P(PostgresRoles, RefusesNamesThatAreNoneAndWhoIsNotTheOwner) {
  set_up();
  for (const StoreRoles& roles :
       {StoreRoles{}, StoreRoles{.writers = {""}}, StoreRoles{.readers = {"public"}}, StoreRoles{.readers = {"pg_monitor"}},
        StoreRoles{.writers = {std::string(64, 'x')}}, StoreRoles{.writers = {"a$utp$b"}}, StoreRoles{.writers = {owner_}}}) {
    const auto refused = owners_->set_up_roles(roles, false);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument) << refused.error().message;
  }
  const auto refused = open_as(reader_, true)->set_up_roles({.readers = {reader_}}, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kPermission) << refused.error().message;
  const auto unable = owners_->set_up_roles({.readers = {reader_ + "2"}}, true);
  ASSERT_FALSE(unable);
  EXPECT_EQ(unable.error().code, Code::kPermission) << unable.error().message;
}

TEST_P(PostgresRoles, FunctionsWithTheOwnersRightsFollowNoSearchPathAndAreNobodyElses) {
  set_up();
  const std::string functions =
      " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND n.nspname = '" + database_.schema +
      "'";
  EXPECT_EQ(sql_as(owner_, "SELECT count(*)" + functions), "2");
  EXPECT_EQ(sql_as(owner_, "SELECT p.proname" + functions + " AND NOT 'search_path=" + database_.schema +
                               ", pg_temp' = ANY (coalesce(p.proconfig, '{}'))"),
            "");
  EXPECT_EQ(sql_as(owner_, "SELECT p.proname" + functions +
                               " AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"),
            "");
  // A table of the writer's own in front of the store's is not taken.
  EXPECT_EQ(sql_as(writer_,
                   "CREATE TEMPORARY TABLE utp_partitions AS SELECT 'trades'::text AS table_name, 'x'::text AS name, now() - "
                   "INTERVAL '1 day' AS first, now() AS behind; "
                   "SELECT count(*) FROM utp_make_partition('stories', now() - INTERVAL '1 hour')")
                .find("permission denied"),
            std::string::npos);
  if (!has_timescale()) {
    EXPECT_EQ(sql_as(owner_, "SELECT count(*) FROM utp_partitions WHERE table_name = 'stories'"), "3");
  }
}

}  // namespace
}  // namespace utp
