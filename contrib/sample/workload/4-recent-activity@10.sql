\set user random_zipfian(1, 5000, 1.05)
SELECT u.name, a.action, a.happened_at FROM howdah_sample.users u JOIN howdah_sample.user_activities a ON a.user_id = u.id WHERE u.id = :user ORDER BY a.happened_at DESC LIMIT 10;
