DROP FUNCTION usage_drop_partitions(integer);
DROP TABLE usage_retained;
DROP TABLE verification;
