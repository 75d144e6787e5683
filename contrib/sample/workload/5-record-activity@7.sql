\set user random_zipfian(1, 5000, 1.05)
\set id 200001 - random_zipfian(1, 200000, 1.1)
INSERT INTO howdah_sample.user_activities (user_id, document_id, action) VALUES (:user, :id, 'view');
