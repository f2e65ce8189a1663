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

TEST(Ddl, WritesPostgresTypesWithTwoColumnsForATime) {
  const auto plan = compile(schema_text("m", "1.0.0",
                                        R"("a":{"type":"number"},"b":{"type":"boolean"},"at":{"type":"string","format":"utp-timestamp"},)"
                                        R"("c":{"type":"array","maxItems":9,"items":{"type":"number"}})"));
  const auto sql = create_table_sql(*plan, SqlDialect::kPostgres);
  ASSERT_TRUE(sql) << sql.error().message;
  EXPECT_EQ(*sql, R"(CREATE TABLE "m" (
  "event_time" timestamptz NOT NULL,
  "event_time_ns" smallint NOT NULL,
  "key" uuid NOT NULL,
  "symbol" text NOT NULL,
  "source_id" text NOT NULL,
  "schema_ref" text NOT NULL,
  "event_time_source" text NOT NULL,
  "ingest_time" timestamptz NOT NULL,
  "ingest_time_ns" smallint NOT NULL,
  "sequence" bigint NOT NULL,
  "checksum" bigint NOT NULL,
  "quality" text,
  "a" double precision,
  "b" boolean,
  "at" timestamptz,
  "at_ns" smallint,
  "c" json,
  PRIMARY KEY (event_time, key)
))");
  EXPECT_EQ(add_column_sql("m", {"at", StoredKind::kTime, false, std::nullopt}, SqlDialect::kPostgres),
            "ALTER TABLE \"m\" ADD COLUMN \"at\" timestamptz, ADD COLUMN \"at_ns\" smallint");
}

TEST(Ddl, RefusesAFieldThatHidesTheNanosecondsOfATime) {
  for (const char* fields : {R"("at":{"type":"string","format":"utp-timestamp"},"at_ns":{"type":"integer"})", R"("event_time_ns":{"type":"integer"})"}) {
    const auto plan = compile(schema_text("m", "1.0.0", fields));
    EXPECT_TRUE(create_table_sql(*plan, SqlDialect::kSqlite));
    const auto sql = create_table_sql(*plan, SqlDialect::kPostgres);
    ASSERT_FALSE(sql) << fields;
    EXPECT_EQ(sql.error().code, Code::kUnsupported);
    EXPECT_NE(sql.error().message.find("_ns"), std::string::npos) << sql.error().message;
  }
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
