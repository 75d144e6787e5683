SELECT forum, count(*), avg(confidence), min(analyzed_at), max(analyzed_at) FROM howdah_sample.arbitration_analysis WHERE has_arbitration GROUP BY forum ORDER BY forum;
