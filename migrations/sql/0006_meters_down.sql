DROP TRIGGER meter_close_before_change ON account;
DROP TRIGGER meter_close_before_plan_change ON plan;
DROP FUNCTION meter_close_before_change;
DROP FUNCTION meter_close_before_plan_change;
DROP FUNCTION meter_close;
DROP TABLE meter_window;
DROP TABLE meter_reading;
DROP INDEX account_by_plan;
