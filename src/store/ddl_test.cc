#include "store/ddl.h"

#include <gtest/gtest.h>

#include "store/contract_events.h"
#include "store/row_text.h"

namespace utp {
namespace {

using store_test::compile;
using store_test::schema_text;

TEST(Ddl, WritesATimeFirstTableWithoutRowid) {
  const auto plan = compile(schema_text("gex/levels", "1.0.0",
                                        R"("spot":{"type":"number"},"n":{"type":"integer"},"ok":{"type":"boolean"},)"
                                        R"("asof":{"type":"string","format":"utp-timestamp"},)"
                                        R"("walls":{"type":"array","maxItems":9,"items":{"type":"number"}})",
                                        "", "gex_levels"));
  const auto sql = create_table_sql(*plan, SqlDialect::kSqlite);
  ASSERT_TRUE(sql) << sql.error().message;
  EXPECT_EQ(*sql, R"(CREATE TABLE "gex_levels" (
  "event_time" INTEGER NOT NULL,
  "key" BLOB NOT NULL,
  "symbol" TEXT NOT NULL,
  "source_id" TEXT NOT NULL,
  "schema_ref" TEXT NOT NULL,
  "event_time_source" TEXT NOT NULL,
  "ingest_time" INTEGER NOT NULL,
  "sequence" INTEGER NOT NULL,
  "checksum" INTEGER NOT NULL,
  "quality" TEXT,
  "spot" REAL,
  "n" INTEGER,
  "ok" INTEGER,
  "asof" INTEGER,
  "walls" TEXT,
  PRIMARY KEY (event_time, key)
) STRICT, WITHOUT ROWID)");
}

TEST(Ddl, KeysExplodedRowsByTheirNumber) {
  const auto plan = store_test::stories_plan();
  const auto sql = create_table_sql(*plan, SqlDialect::kSqlite);
  ASSERT_TRUE(sql) << sql.error().message;
  EXPECT_NE(sql->find("\"row_no\" INTEGER NOT NULL"), std::string::npos);
  EXPECT_NE(sql->find("PRIMARY KEY (event_time, key, row_no)"), std::string::npos);
  EXPECT_NE(sql->find("\"tickers\" TEXT,"), std::string::npos);
}

TEST(Ddl, WritesPostgresTypesAndParameters) {
  const auto plan = compile(schema_text("m", "1.0.0", R"("a":{"type":"number"},"b":{"type":"boolean"})"));
  EXPECT_NE(create_table_sql(*plan, SqlDialect::kPostgres)->find("\"a\" double precision"), std::string::npos);
  EXPECT_EQ(*insert_sql(*plan, SqlDialect::kPostgres),
            "INSERT INTO \"m\" (\"event_time\", \"key\", \"symbol\", \"source_id\", \"schema_ref\", \"event_time_source\", "
            "\"ingest_time\", \"sequence\", \"checksum\", \"quality\", \"a\", \"b\") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
            "$10, $11, $12) ON CONFLICT (event_time, key) DO NOTHING");
}

TEST(Ddl, RefusesAFieldThatHidesAHeaderColumn) {
  const auto columns = stored_columns(*compile(schema_text("m", "1.0.0", R"("event_time":{"type":"number"})")));
  ASSERT_FALSE(columns);
  EXPECT_EQ(columns.error().code, Code::kUnsupported);
  EXPECT_NE(columns.error().message.find("event_time"), std::string::npos);
}

TEST(Ddl, DoublesQuotesInNames) { EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\""); }

TEST(Ddl, NamesOfKindsReadBack) {
  for (int i = 0; i <= static_cast<int>(StoredKind::kRowNumber); ++i) {
    const auto kind = static_cast<StoredKind>(i);
    EXPECT_EQ(parse_stored_kind(to_string(kind)), kind);
  }
  EXPECT_FALSE(parse_stored_kind("varchar"));
}

TEST(RowText, KnowsWhichDecimalsADoubleHolds) {
  EXPECT_TRUE(fits_double(*Decimal::parse("999999999999999")));
  EXPECT_TRUE(fits_double(*Decimal::parse("9007199254740992")));
  EXPECT_FALSE(fits_double(*Decimal::parse("9007199254740993")));
  EXPECT_FALSE(fits_double(*Decimal::parse("0.1234567890123456789")));
}

}  // namespace
}  // namespace utp
