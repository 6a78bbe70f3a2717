DROP TABLE notice_delivery;
DROP TABLE notice;
